/**
 * @file bitsandbytes: 4 bits (nf4, fp4: a table of 16 values and a scale for 64 of them), and int8 with a scale for
 * each row.
 */
import { CheckpointError } from '../../util/errors.ts';
import { isObject } from '../../util/json/is-object.ts';
import type { StoredTensor } from '../types.ts';
import type { Json, Method, QuantizedModule } from './method.ts';
import { allFloats, madeMatrix, rawBytes } from './tensors.ts';

export function bitsAndBytes(): Method {
  return {
    name: 'bitsandbytes',
    marks: ['weight.absmax', 'SCB', 'weight.SCB'],
    read: (module) => (module.get('weight.absmax') ? readFourBits(module) : readInt8(module)),
  };
}

/** w = q · SCB / 127. */
function readInt8(module: QuantizedModule) {
  const weight = module.need('weight');
  const scale = module.get('SCB') ?? module.need('weight.SCB');
  const [rows, cols] = weight.shape;
  if (scale.shape[0] !== rows) throw module.fail(`has ${scale.shape[0]} scales for ${rows} rows`);
  const made = madeMatrix(`${module.name}.weight`, [rows, cols], 'int8', async (start, count) => {
    const values = Float32Array.from(await weight.readFloats(start * cols, count * cols));
    const scales = await scale.readFloats(start, count);
    for (let i = 0; i < values.length; i++) values[i] = (values[i] * scales[Math.floor(i / cols)]) / 127;
    return values;
  });
  return { tensors: [made], used: ['weight', 'SCB', 'weight.SCB', 'weight_format', 'weight.weight_format'] };
}

const STATE = /^weight\.quant_state\.bitsandbytes__(nf4|fp4)$/;

async function readFourBits(module: QuantizedModule) {
  const key = [...module.parts.keys()].find((part) => STATE.test(part));
  if (key === undefined) throw module.fail('has no quant_state');
  const state = await readState(module.need(key));
  const [rows, cols] = state.shape;
  const size = state.blocksize;
  const packed = module.need('weight');
  const absmax = await scalesOf(module, state.nested);
  const [code] = [await allFloats(module.need('weight.quant_map'))];
  if (code.length !== 16 || absmax.length !== Math.ceil((rows * cols) / size))
    throw module.fail(`has ${absmax.length} scales and ${code.length} values for [${rows}, ${cols}]`);
  const name = `${module.name}.weight`;
  const made = madeMatrix(name, [rows, cols], STATE.exec(key)![1], async (start, count) => {
    const first = start * cols;
    const from = first >> 1;
    // Elements follow each other without regard to rows; the high nibble is first.
    const last = Math.ceil((first + count * cols) / 2);
    const bytes = await bytesOf(packed, from, last - from);
    const out = new Float32Array(count * cols);
    for (let i = 0; i < out.length; i++) {
      const at = first + i;
      const byte = bytes[(at >> 1) - from];
      out[i] = code[at & 1 ? byte & 15 : byte >> 4] * absmax[Math.floor(at / size)];
    }
    return out;
  });
  return { tensors: [made], used: [...module.parts.keys()].filter((part) => part.startsWith('weight')) };
}

/** The packed bytes may be stored as another type of the same bytes. */
async function bytesOf(tensor: StoredTensor, start: number, count: number): Promise<Uint8Array> {
  if (tensor.dtype === 'U8') return rawBytes(tensor, start, count);
  return (await rawBytes(tensor)).subarray(start, start + count);
}

interface State {
  readonly shape: readonly [number, number];
  readonly blocksize: number;
  /** The scales are quantized themselves. */
  readonly nested: { readonly blocksize: number; readonly offset: number } | null;
}

async function readState(tensor: StoredTensor): Promise<State> {
  let json: Json | null = null;
  try {
    const parsed: unknown = JSON.parse(new TextDecoder().decode(await rawBytes(tensor)));
    if (isObject(parsed)) json = parsed;
  } catch (cause) {
    throw new CheckpointError(`the tensor ${tensor.name} is not JSON`, { cause });
  }
  const { shape, blocksize, nested_blocksize: nested, nested_offset: offset } = json ?? {};
  const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) > 0;
  if (!Array.isArray(shape) || shape.length !== 2 || !shape.every(isSize) || !isSize(blocksize))
    throw new CheckpointError(`the tensor ${tensor.name} does not state the shape of a matrix and a blocksize`);
  return {
    shape: [shape[0], shape[1]],
    blocksize,
    nested: isSize(nested) ? { blocksize: nested, offset: typeof offset === 'number' ? offset : 0 } : null,
  };
}

async function scalesOf(module: QuantizedModule, nested: State['nested']): Promise<Float32Array> {
  const absmax = module.need('weight.absmax');
  if (!nested) return allFloats(absmax);
  const codes = await rawBytes(absmax);
  const map = await allFloats(module.need('weight.nested_quant_map'));
  const outer = await allFloats(module.need('weight.nested_absmax'));
  return Float32Array.from(
    codes,
    (code, i) => Math.fround(map[code] * outer[Math.floor(i / nested.blocksize)]) + nested.offset,
  );
}
