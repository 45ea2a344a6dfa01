/**
 * @file Tensors made of others without copying them: rows in another order, parts, values through a function.
 */
import { product } from '../../util/numbers.ts';
import { gatherRows, pickedBlocks, slicedBlocks } from '../block-rows.ts';
import type { BlockRows, StoredTensor } from '../types.ts';

const width = (shape: readonly number[]): number => product(shape.slice(1));

/**
 * Rows (along the first axis) in another order: row i is row `pick(i)` of `tensor`. Raw blocks move with their rows.
 */
export function pickedRows(
  tensor: StoredTensor,
  name: string,
  rows: number,
  pick: (row: number) => number,
): StoredTensor {
  const cols = width(tensor.shape);
  const { blocks } = tensor;
  return {
    name,
    dtype: tensor.dtype,
    format: tensor.format,
    shape: [rows, ...tensor.shape.slice(1)],
    async readFloats(start, count) {
      const first = Math.floor(start / cols);
      const last = Math.ceil((start + count) / cols);
      const out = new Float32Array((last - first) * cols);
      await gatherRows(out, cols, first, last, pick, (row, n) => tensor.readFloats(row * cols, n * cols));
      return out.subarray(start - first * cols, start - first * cols + count);
    },
    // The picks are of the first axis, the rows of blocks of the last.
    ...(blocks && tensor.shape.length === 2 ? { blocks: pickedBlocks(blocks, pick) } : {}),
  };
}

/** Columns in another order: column i is column `pick(i)` of `tensor`. Raw blocks can't be kept. */
export function pickedColumns(tensor: StoredTensor, name: string, pick: (column: number) => number): StoredTensor {
  const { dtype, format, shape } = tensor;
  const cols = shape[shape.length - 1];
  return {
    name,
    dtype,
    format,
    shape,
    async readFloats(start, count) {
      const first = Math.floor(start / cols) * cols;
      const rows = await tensor.readFloats(first, Math.ceil((start + count - first) / cols) * cols);
      return Float32Array.from({ length: count }, (_, i) => {
        const at = start + i - first;
        return rows[at - (at % cols) + pick(at % cols)];
      });
    },
  };
}

/** Rows `start … start + rows` of the first axis. */
export function slicedRows(tensor: StoredTensor, name: string, start: number, rows: number): StoredTensor {
  return part(tensor, name, start * width(tensor.shape), [rows, ...tensor.shape.slice(1)]);
}

/** Entry `index` of the first axis, e.g. one expert of all. */
export function entry(tensor: StoredTensor, name: string, index: number): StoredTensor {
  return part(tensor, name, index * width(tensor.shape), tensor.shape.slice(1));
}

/** The values from element `offset` on, as a tensor of `shape`. */
function part(tensor: StoredTensor, name: string, offset: number, shape: readonly number[]): StoredTensor {
  const { blocks, readBytes } = tensor;
  const first = offset / shape[shape.length - 1];
  return {
    name,
    dtype: tensor.dtype,
    format: tensor.format,
    shape,
    readFloats: (start, count) => tensor.readFloats(offset + start, count),
    ...(readBytes ? { readBytes: (start: number, count: number) => readBytes(offset + start, count) } : {}),
    ...(blocks ? { blocks: slicedBlocks(blocks, first) } : {}),
  };
}

/** Every value through a function. */
export function mapped(tensor: StoredTensor, name: string, map: (value: number) => number): StoredTensor {
  const { dtype, format, shape } = tensor;
  return {
    name,
    dtype,
    format,
    shape,
    readFloats: async (start, count) => (await tensor.readFloats(start, count)).map(map),
  };
}

/**
 * A matrix with rows and columns exchanged. Reading it reads the whole of `tensor`; `transposed` gives the latter back.
 */
export function turned(tensor: StoredTensor, name: string): StoredTensor {
  const [rows, cols] = tensor.shape;
  return {
    name,
    dtype: tensor.dtype,
    format: tensor.format,
    shape: [cols, rows],
    transposed: tensor,
    async readFloats(start, count) {
      const all = await tensor.readFloats(0, rows * cols);
      return Float32Array.from({ length: count }, (_, i) => {
        const at = start + i;
        return all[(at % rows) * cols + Math.floor(at / rows)];
      });
    },
  };
}

/**
 * Entry by entry of the first axis, the rows of several tensors below each other: [E, a + b, …] of [E, a, …] and
 * [E, b, …].
 */
export function stackedEntries(tensors: readonly StoredTensor[], name: string): StoredTensor {
  const { dtype, format, shape } = tensors[0];
  const height = tensors.reduce((sum, tensor) => sum + tensor.shape[1], 0);
  const whole = [shape[0], height, ...shape.slice(2)];
  const size = width(whole);
  const blocks = shape.length === 3 ? stackedBlocks(tensors, height) : null;
  return {
    name,
    dtype,
    format,
    shape: whole,
    ...(blocks ? { blocks } : {}),
    async readFloats(start, count) {
      const out = new Float32Array(count);
      for (let at = start; at < start + count; ) {
        const index = Math.floor(at / size);
        let first = index * size;
        for (const tensor of tensors) {
          const length = width(tensor.shape);
          const end = Math.min(first + length, start + count);
          if (at >= first && at < end) {
            out.set(await tensor.readFloats(index * length + at - first, end - at), at - start);
            at = end;
          }
          first += length;
        }
      }
      return out;
    },
  };
}

/** Rows of {@link stackedEntries} as blocks, where all tensors have the same. */
function stackedBlocks(tensors: readonly StoredTensor[], height: number): BlockRows | null {
  const first = tensors[0].blocks;
  if (!first || tensors.some(({ blocks }) => blocks?.format !== first.format)) return null;
  const { format, rowBytes } = first;
  return {
    format,
    rowBytes,
    async read(start, count) {
      const out = new Uint8Array(count * rowBytes);
      for (let row = start; row < start + count; ) {
        const index = Math.floor(row / height);
        let low = index * height;
        for (const { shape, blocks } of tensors) {
          const end = Math.min(low + shape[1], start + count);
          if (row >= low && row < end) {
            out.set(await blocks!.read(index * shape[1] + row - low, end - row), (row - start) * rowBytes);
            row = end;
          }
          low += shape[1];
        }
      }
      return out;
    },
  };
}

/**
 * Entry by entry of the first axis, turned around and below each other: [E, a, b] becomes [E · b, a]. Reading reads
 * whole entries.
 */
export function turnedEntries(tensor: StoredTensor, name: string): StoredTensor {
  const { dtype, format, shape } = tensor;
  const [count, rows, cols] = shape;
  const size = rows * cols;
  return {
    name,
    dtype,
    format,
    shape: [count * cols, rows],
    async readFloats(start, length) {
      const out = new Float32Array(length);
      for (let at = start; at < start + length; ) {
        const first = at - (at % size);
        const values = await tensor.readFloats(first, size);
        for (; at < Math.min(first + size, start + length); at++) {
          const inEntry = at - first;
          out[at - start] = values[(inEntry % rows) * cols + Math.floor(inEntry / rows)];
        }
      }
      return out;
    },
  };
}
