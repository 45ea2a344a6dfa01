/**
 * @file MLX: `weight` packs along the inputs (low bits first). w = q · scale + bias for groups of inputs, or floats of
 * 4 or 8 bits with scales alone.
 */
import { widenInto } from '../../util/half.ts';
import { isObject } from '../../util/json/is-object.ts';
import { entry } from '../gguf/rearrange.ts';
import type { StoredTensor } from '../types.ts';
import { mxfp4Matrix, nvfp4Matrix, powerOfTwo } from './fp4.ts';
import type { Method, QuantizedModule, QuantSettings } from './method.ts';
import { madeMatrix, rawBytes, streamValue } from './tensors.ts';

const MODES = ['affine', 'mxfp4', 'nvfp4', 'mxfp8'] as const;
type Mode = (typeof MODES)[number];

/** The settings of a module. */
interface Own {
  readonly mode: Mode;
  readonly size: number;
}

interface Parts {
  readonly weight: StoredTensor;
  readonly scales: StoredTensor;
  readonly biases: StoredTensor | undefined;
}

export function mlx(settings: QuantSettings): Method {
  const usual = ownSettings(settings, { mode: 'affine', size: 64 });
  // Modules may have settings of their own, by their names.
  const own = new Map(
    settings
      .entries()
      .flatMap(([path, value]) => (isObject(value) ? [[path, ownSettings(settings.object(path), usual)]] : [])),
  );
  return {
    name: 'MLX',
    marks: ['scales'],
    read(module) {
      const parts = { weight: module.need('weight'), scales: module.need('scales'), biases: module.get('biases') };
      const { shape } = parts.weight;
      const settled = own.get(module.name) ?? usual;
      const used = ['weight', 'scales', 'biases'];
      if (shape.length === 2) return { tensors: [matrix(module, `${module.name}.weight`, parts, settled)], used };
      const to = expertName(module.name);
      if (shape.length !== 3 || to === null) throw module.fail(`has weights of the shape [${shape}]`);
      const tensors = Array.from({ length: shape[0] }, (_, e) => {
        const of = (tensor: StoredTensor) => entry(tensor, tensor.name, e);
        const { weight, scales, biases } = parts;
        const expert = { weight: of(weight), scales: of(scales), biases: biases && of(biases) };
        return matrix(module, to.replace('{e}', String(e)), expert, settled);
      });
      return { tensors, used };
    },
  };
}

function ownSettings(settings: QuantSettings, usual: Own): Own {
  const mode = settings.text('mode', usual.mode);
  if (!isMode(mode)) throw settings.fail('mode', `must be one of ${MODES.join(', ')}`);
  return { mode, size: settings.int('group_size', usual.size) };
}

const isMode = (mode: string): mode is Mode => (MODES as readonly string[]).includes(mode);

/** Mixtral's names of the matrices of an expert. */
const SPARSE: Readonly<Record<string, string>> = { gate_proj: 'w1', down_proj: 'w2', up_proj: 'w3' };

/** MLX has all experts of a layer in one tensor; null for another module. */
function expertName(module: string): string | null {
  const [, before, matrixName] = /^(.+)\.switch_mlp\.(gate_proj|up_proj|down_proj)$/.exec(module) ?? [];
  if (before === undefined) return null;
  const own = before.endsWith('block_sparse_moe') ? SPARSE[matrixName] : matrixName;
  return `${before}.experts.{e}.${own}.weight`;
}

function matrix(module: QuantizedModule, name: string, parts: Parts, { mode, size }: Own): StoredTensor {
  const { weight, scales, biases } = parts;
  const [rows, words] = weight.shape;
  if (scales.shape[0] !== rows) throw module.fail(`has ${scales.shape[0]} rows of scales for ${rows}`);
  if (biases) return affine(module, name, { weight, scales, biases }, size);
  // As bytes: the first value of a word is in its low bits.
  const packed = {
    ...weight,
    dtype: 'U8' as const,
    shape: [rows, words * 4],
    readBytes: bytesOfWords(weight.readBytes),
  };
  if (mode === 'mxfp8') return mxfp8Matrix(module, packed, scales, name);
  return mode === 'nvfp4'
    ? nvfp4Matrix(packed, asE4m3(scales), name, null, 'multiply')
    : mxfp4Matrix(packed, scales, name);
}

function affine(
  module: QuantizedModule,
  name: string,
  { weight, scales, biases }: Parts & { readonly biases: StoredTensor },
  size: number,
): StoredTensor {
  const [rows, words] = weight.shape;
  const groups = scales.shape[1];
  const cols = groups * size;
  const bits = (words * 32) / cols;
  if (![2, 3, 4, 5, 6, 8].includes(bits))
    throw module.fail(`packs [${rows}, ${cols}] into [${weight.shape}] words, which is ${bits} bits a weight`);
  return madeMatrix(name, [rows, cols], `MLX ${bits} bit`, async (start, count) => {
    const bytes = await rawBytes(weight, start * words, count * words);
    const scale = await scales.readFloats(start * groups, count * groups);
    const bias = await biases.readFloats(start * groups, count * groups);
    const out = new Float32Array(count * cols);
    for (let i = 0; i < count; i++)
      for (let col = 0; col < cols; col++) {
        const g = i * groups + Math.floor(col / size);
        out[i * cols + col] = Math.fround(streamValue(bytes, i * words * 4, col, bits) * scale[g]) + bias[g];
      }
    return out;
  });
}

/** Floats of 8 bits, with exponents as scales of 32 values each. */
function mxfp8Matrix(module: QuantizedModule, packed: StoredTensor, scale: StoredTensor, name: string): StoredTensor {
  const [rows, cols] = packed.shape;
  if (scale.shape[1] * 32 !== cols) throw module.fail(`has scales [${scale.shape}] for [${rows}, ${cols}]`);
  return madeMatrix(name, [rows, cols], 'mxfp8', async (start, count) => {
    const values = new Float32Array(count * cols);
    widenInto('F8_E4M3', await rawBytes(packed, start * cols, count * cols), values);
    const exponents = await rawBytes(scale, (start * cols) / 32, (count * cols) / 32);
    for (let i = 0; i < values.length; i++) values[i] *= powerOfTwo(exponents[i >> 5]);
    return values;
  });
}

/** Bytes that are floats of 8 bits. */
const asE4m3 = (scale: StoredTensor): StoredTensor => ({
  ...scale,
  async readFloats(start, count) {
    const values = new Float32Array(count);
    widenInto('F8_E4M3', await rawBytes(scale, start, count), values);
    return values;
  },
});

/** A reader of words as one of bytes. */
function bytesOfWords(read: ((start: number, count: number) => Promise<Uint8Array>) | undefined) {
  if (!read) return undefined;
  return async (start: number, count: number): Promise<Uint8Array> => {
    const first = Math.floor(start / 4);
    const bytes = await read(first, Math.ceil((start + count) / 4) - first);
    return bytes.subarray(start - first * 4, start - first * 4 + count);
  };
}
