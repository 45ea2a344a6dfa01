/**
 * @file Tensors whose rows are made when they are read, and the numbers that they are made of.
 */
import { CheckpointError, InputError } from '../../util/errors.ts';
import { product } from '../../util/numbers.ts';
import type { BlockRows, StoredTensor } from '../types.ts';
import type { QuantizedModule } from './method.ts';

/** A matrix whose rows `rows(start, count)` makes. */
export function madeMatrix(
  name: string,
  [rows, cols]: readonly [number, number],
  format: string,
  make: (start: number, count: number) => Promise<Float32Array>,
): StoredTensor {
  return {
    name,
    dtype: 'F32',
    format,
    shape: [rows, cols],
    async readFloats(start, count) {
      if (!(start >= 0 && count >= 0 && start + count <= rows * cols))
        throw new InputError(
          `elements ${start} to ${start + count} of ${name} were asked for, but it has ${rows * cols}`,
        );
      const first = Math.floor(start / cols);
      const values = await make(first, Math.ceil((start + count) / cols) - first);
      return values.subarray(start - first * cols, start - first * cols + count);
    },
  };
}

/**
 * Values and bytes of one block of ggml's q4_0: a scale of 16 bits, then values j and j + 16 in byte j, each
 * (q - 8) · scale.
 */
const Q4_VALUES = 32;
const Q4_BYTES = 18;

/** Rows of 4-bit values as they are stored, and which of the scales a group of a row has. */
export interface FourBitRows {
  /** One value a byte, rows behind each other. */
  readonly codes: Uint8Array;
  /** Elements of `scales` by row and group. */
  readonly scaleAt: (row: number, group: number) => number;
}

/**
 * The same values as blocks of q4_0, which hold them exactly: 4 bits less 8, and scales of float16 for groups of whole
 * blocks.
 * @param rows of the matrix, by number.
 * @returns null where the scales or the groups are others.
 */
export function q4Blocks(
  [cols, groups]: readonly [cols: number, groups: number],
  scales: StoredTensor,
  rows: (start: number, count: number) => Promise<FourBitRows>,
): BlockRows | null {
  const perGroup = cols / groups / Q4_VALUES;
  if (scales.dtype !== 'F16' || !scales.readBytes || !Number.isInteger(perGroup)) return null;
  const perRow = cols / Q4_VALUES;
  return {
    format: 'q4_0',
    rowBytes: perRow * Q4_BYTES,
    async read(start, count) {
      const { codes, scaleAt } = await rows(start, count);
      const scale = await wholeTensor(scales);
      const out = new Uint8Array(count * perRow * Q4_BYTES);
      for (let block = 0; block < count * perRow; block++) {
        const at = 2 * scaleAt(start + Math.floor(block / perRow), Math.floor((block % perRow) / perGroup));
        const to = block * Q4_BYTES;
        const from = block * Q4_VALUES;
        out[to] = scale[at];
        out[to + 1] = scale[at + 1];
        for (let j = 0; j < 16; j++) out[to + 2 + j] = codes[from + j] | (codes[from + 16 + j] << 4);
      }
      return out;
    },
  };
}

/** All values, as float32. */
export const allFloats = (tensor: StoredTensor): Promise<Float32Array> => tensor.readFloats(0, product(tensor.shape));

/**
 * A module's bias, if it has one. AutoGPTQ wrote biases of zeros to models without biases: such a one may be left over.
 */
export async function neutralBias({ name, get }: QuantizedModule): Promise<StoredTensor[]> {
  const bias = get('bias');
  if (!bias) return [];
  const isNeutral = (await allFloats(bias)).every((value) => value === 0);
  return [{ ...bias, name: `${name}.bias`, ...(isNeutral ? { isNeutral } : {}) }];
}

/** Elements as they are stored. */
export async function rawBytes(tensor: StoredTensor, start = 0, count = product(tensor.shape)): Promise<Uint8Array> {
  if (!tensor.readBytes) throw new CheckpointError(`the tensor ${tensor.name} can't be read as it is stored`);
  return tensor.readBytes(start, count);
}

/** Whole tensors are read for every piece of rows that is made of them: the last ones are kept. */
const KEPT = 4;
const kept = new Map<StoredTensor, Promise<Uint8Array>>();

/** All elements as they are stored, the same for calls that follow each other. */
export function wholeTensor(tensor: StoredTensor): Promise<Uint8Array> {
  const known = kept.get(tensor);
  if (known) return known;
  const read = rawBytes(tensor);
  kept.set(tensor, read);
  read.catch(() => kept.delete(tensor));
  for (const old of kept.keys()) {
    if (kept.size <= KEPT) break;
    kept.delete(old);
  }
  return read;
}

/** Value `index` of a stream of `bits` each, low bits first. Its bytes must have one more behind the last value's. */
export function streamValue(bytes: Uint8Array, offset: number, index: number, bits: number): number {
  const at = index * bits;
  const byte = offset + (at >> 3);
  return ((bytes[byte] | ((bytes[byte + 1] ?? 0) << 8)) >> (at & 7)) & ((1 << bits) - 1);
}

/** How one scale is shared: by so many rows and columns. */
export interface ScaleBlocks {
  readonly rows: number;
  readonly cols: number;
}

/**
 * Which block of a matrix a scale of this shape is for: one for all, for each row, for groups of columns, or for
 * squares.
 * @throws CheckpointError where the shapes do not fit.
 */
function scaleBlocks(
  scale: StoredTensor,
  [rows, cols]: readonly [number, number],
  block?: readonly [number, number],
): ScaleBlocks {
  const shape = scale.shape.length === 1 ? [scale.shape[0], 1] : scale.shape.length === 0 ? [1, 1] : scale.shape;
  const [high, wide] = shape;
  const blocks = {
    rows: high === 1 ? rows : (block?.[0] ?? Math.ceil(rows / high)),
    cols: wide === 1 ? cols : (block?.[1] ?? Math.ceil(cols / wide)),
  };
  if (shape.length !== 2 || Math.ceil(rows / blocks.rows) !== high || Math.ceil(cols / blocks.cols) !== wide)
    throw new CheckpointError(
      `the tensor ${scale.name} has the shape [${scale.shape}], which does not fit a matrix [${rows}, ${cols}]`,
    );
  return blocks;
}

/** Multiplies rows `start …` of a matrix with their scales, in place. */
function applyScales(
  values: Float32Array,
  start: number,
  cols: number,
  scales: Float32Array,
  blocks: ScaleBlocks,
): void {
  const perRow = Math.ceil(cols / blocks.cols);
  for (let i = 0; i < values.length; i += cols) {
    const row = Math.floor((start + i / cols) / blocks.rows) * perRow;
    for (let col = 0; col < cols; col++) values[i + col] *= scales[row + Math.floor(col / blocks.cols)];
  }
}

/** w · scale, with the values as they are stored. */
export function scaledMatrix(
  weight: StoredTensor,
  scale: StoredTensor,
  name: string,
  format: string,
  block?: readonly [number, number],
): StoredTensor {
  const [rows, cols] = weight.shape;
  if (weight.shape.length !== 2)
    throw new CheckpointError(`the tensor ${weight.name} must be a matrix, but has the shape [${weight.shape}]`);
  const blocks = scaleBlocks(scale, [rows, cols], block);
  return madeMatrix(name, [rows, cols], format, async (start, count) => {
    const values = Float32Array.from(await weight.readFloats(start * cols, count * cols));
    applyScales(values, start, cols, await allFloats(scale), blocks);
    return values;
  });
}

/** w = (q - zero) · scale. */
export function withZeroPoints(
  weight: StoredTensor,
  scale: StoredTensor,
  zero: StoredTensor,
  name: string,
): StoredTensor {
  const [rows, cols] = weight.shape;
  const blocks = scaleBlocks(scale, [rows, cols]);
  const perRow = Math.ceil(cols / blocks.cols);
  return madeMatrix(name, [rows, cols], weight.dtype, async (start, count) => {
    const values = Float32Array.from(await weight.readFloats(start * cols, count * cols));
    const zeros = await allFloats(zero);
    for (let i = 0; i < values.length; i++) {
      const row = Math.floor((start + Math.floor(i / cols)) / blocks.rows);
      values[i] -= zeros[row * perRow + Math.floor((i % cols) / blocks.cols)];
    }
    applyScales(values, start, cols, await allFloats(scale), blocks);
    return values;
  });
}
