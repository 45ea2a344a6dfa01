/**
 * @file compressed-tensors (llm-compressor): packed integers, int8, fp8, nvfp4 and mxfp4, told apart by their tensors.
 */
import { isObject } from '../../util/json/is-object.ts';
import type { StoredTensor } from '../types.ts';
import { mxfp4Matrix, nvfp4Matrix } from './fp4.ts';
import type { Method, QuantizedModule, QuantSettings } from './method.ts';
import {
  allFloats,
  madeMatrix,
  q4Blocks,
  rawBytes,
  scaledMatrix,
  streamValue,
  wholeTensor,
  withZeroPoints,
} from './tensors.ts';

export function compressedTensors(settings: QuantSettings): Method {
  const sparse = settings.object('sparsity_config').text('format', 'dense');
  if (sparse !== 'dense') throw settings.fail('sparsity_config', 'must be of dense weights');
  const transform = settings.get('transform_config');
  if (isObject(transform) && Object.keys(isObject(transform.config_groups) ? transform.config_groups : {}).length > 0)
    throw settings.fail('transform_config', 'must be empty (weights that were rotated are not read)');
  const block = blockStructure(settings);
  return {
    name: 'compressed-tensors',
    marks: ['weight_packed', 'weight_scale'],
    read: (module) => readModule(module, block),
  };
}

/** The squares that scales are for, where a group of modules has such: [128, 128] in all that are known. */
function blockStructure(settings: QuantSettings): readonly [number, number] | undefined {
  const found = settings
    .object('config_groups')
    .entries()
    .map(([, group]) => (isObject(group) && isObject(group.weights) ? group.weights.block_structure : undefined))
    .filter((block) => Array.isArray(block) && block.length === 2 && block.every((n) => Number.isInteger(n) && n > 0));
  if (new Set(found.map(String)).size > 1) throw settings.fail('config_groups', 'must have one block_structure');
  return found[0] as readonly [number, number] | undefined;
}

/** Squares, where the scales are as many. */
function squares(weight: StoredTensor, scale: StoredTensor, block: readonly [number, number] | undefined) {
  const fits = block?.every((size, axis) => Math.ceil(weight.shape[axis] / size) === scale.shape[axis]);
  return fits && scale.shape.length === 2 ? block : undefined;
}

async function readModule(module: QuantizedModule, block?: readonly [number, number]) {
  const name = `${module.name}.weight`;
  const used = ['weight', 'weight_packed', 'weight_scale', 'weight_zero_point', 'weight_shape', 'weight_g_idx']
    .concat(['weight_global_scale', 'input_scale', 'input_global_scale', 'input_zero_point'])
    .concat(['output_scale', 'output_zero_point']);
  const packed = module.get('weight_packed');
  const scale = module.need('weight_scale');
  if (packed && packed.dtype === 'U8') {
    const global = module.get('weight_global_scale');
    const made = global ? nvfp4Matrix(packed, scale, name, global, 'divide') : mxfp4Matrix(packed, scale, name);
    return { tensors: [made], used };
  }
  if (packed) {
    const made = await packedIntegers(module, packed, scale, module.need('weight_shape'), name);
    return { tensors: [made], used };
  }
  const weight = module.need('weight');
  const zero = module.get('weight_zero_point');
  if (!zero) return { tensors: [scaledMatrix(weight, scale, name, weight.dtype, squares(weight, scale, block))], used };
  return { tensors: [withZeroPoints(weight, scale, zero, name)], used };
}

/** Values along the inputs, zero points along the outputs; both have 2^(bits-1) added. */
async function packedIntegers(
  module: QuantizedModule,
  packed: StoredTensor,
  scale: StoredTensor,
  shape: StoredTensor,
  name: string,
): Promise<StoredTensor> {
  const [rows, words] = packed.shape;
  const [high, cols] = await allFloats(shape);
  const bits = [4, 8].find((width) => Math.ceil((cols * width) / 32) === words);
  if (bits === undefined || high !== rows)
    throw module.fail(`packs [${high}, ${cols}] into [${packed.shape}] words, which is neither 4 nor 8 bits a weight`);
  const groups = scale.shape[1] ?? 1;
  const zero = module.get('weight_zero_point');
  const index = module.get('weight_g_idx');
  const size = Math.ceil(cols / groups);
  const perWord = 32 / bits;
  const made = madeMatrix(name, [rows, cols], `int${bits}`, async (start, count) => {
    const bytes = await rawBytes(packed, start * words, count * words);
    const scales = await allFloats(scale);
    const zeros = zero ? await wholeTensor(zero) : null;
    const group = index ? await allFloats(index) : null;
    const out = new Float32Array(count * cols);
    for (let i = 0; i < count; i++) {
      const row = start + i;
      for (let col = 0; col < cols; col++) {
        const g = group ? group[col] : Math.floor(col / size);
        const word = (Math.floor(row / perWord) * groups + g) * 4;
        const z = zeros ? streamValue(zeros, word, row % perWord, bits) : 1 << (bits - 1);
        out[i * cols + col] = (streamValue(bytes, i * words * 4, col, bits) - z) * scales[row * groups + g];
      }
    }
    return out;
  });
  if (bits !== 4 || zero || index) return made;
  const blocks = q4Blocks([cols, groups], scale, async (start, count) => {
    const bytes = await rawBytes(packed, start * words, count * words);
    const codes = new Uint8Array(count * cols);
    for (let i = 0; i < count; i++)
      for (let col = 0; col < cols; col++) codes[i * cols + col] = streamValue(bytes, i * words * 4, col, 4);
    return { codes, scaleAt: (row, group) => row * groups + group };
  });
  return blocks ? { ...made, blocks } : made;
}
