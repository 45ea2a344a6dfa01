/**
 * @file Matrices that are read row by row, and ways to put them together: nothing is held longer than it is used.
 */
import {
  type Gatherable,
  gatherRows,
  pickedBlocks,
  type ReadRows,
  readInto,
  slicedBlocks,
} from '../checkpoint/block-rows.ts';
import type { BlockRows, StoredTensor } from '../checkpoint/types.ts';
import { CheckpointError } from '../util/errors.ts';
import { PIECE_VALUES, product } from '../util/numbers.ts';
import type { RowSource } from './types.ts';

/**
 * A checkpoint's tensor as rows. Vectors are one column; tensors of more axes are seen as the matrix of their last one,
 * or of their first.
 * @throws CheckpointError where its shape is another than the model's.
 */
export function tensorRows(tensor: StoredTensor, rows: number, cols: number): RowSource {
  const shape = tensor.shape.filter((length) => length !== 1);
  const wanted = [rows, cols].filter((length) => length !== 1);
  const last = shape.at(-1) ?? 1;
  const rest = product(shape.slice(1));
  const byFirst = shape.length > 2 && shape[0] === rows && rest === cols;
  const byLast = [product(shape.slice(0, -1)), last];
  const folded = byFirst ? [rows, cols] : shape.length > 2 ? byLast : shape;
  // A vector of all heads may be stored as [heads, headSize].
  const flat = cols === 1 ? [product(shape)].filter((length) => length !== 1) : folded;
  if (`${flat}` !== `${wanted}`)
    throw new CheckpointError(
      `the tensor ${tensor.name} has shape [${tensor.shape}], but config.json makes it [${cols === 1 ? rows : [rows, cols]}]`,
    );
  const { blocks, transposed } = tensor;
  return {
    rows,
    cols,
    async read(start, count) {
      const values = await tensor.readFloats(start * cols, count * cols);
      checkFinite(tensor.name, values, start, cols);
      return values;
    },
    // Blocks run along the last axis, which must be the columns.
    ...(blocks && shape.length > 0 && last === cols ? { blocks } : {}),
    ...(transposed ? { transposed: tensorRows(transposed, cols, rows) } : {}),
  };
}

/**
 * Quantized products hide NaN and Infinity, so no format takes them.
 * @throws CheckpointError names the tensor and the row.
 */
function checkFinite(name: string, values: Float32Array, firstRow: number, cols: number): void {
  // 0 for every finite value; one sum is some ten times faster than a test of each value.
  let sum = 0;
  for (let i = 0; i < values.length; i++) sum += values[i] * 0;
  if (sum === 0) return;
  const index = values.findIndex((value) => !Number.isFinite(value));
  throw new CheckpointError(
    `the tensor ${name} holds ${values[index]} in row ${firstRow + Math.floor(index / cols)}, column ${index % cols}; ` +
      'the file is damaged, or was saved by a training run that diverged',
  );
}

/** Rows `start … start + rows` of a matrix. */
export function sliceRows(whole: RowSource, start: number, rows: number): RowSource {
  const { cols, blocks } = whole;
  return {
    rows,
    cols,
    read: (at, count) => whole.read(start + at, count),
    ...(blocks ? { blocks: slicedBlocks(blocks, start) } : {}),
  };
}

/** Rows in another order: row i is row `pick(i)` of the whole. Runs of neighbours are read in one piece. */
export function pickRows(whole: RowSource, pick: (row: number) => number, rows: number): RowSource {
  const { cols, blocks } = whole;
  return {
    rows,
    cols,
    async read(start, count) {
      const out = new Float32Array(count * cols);
      await gatherRows(out, cols, start, start + count, pick, whole.read);
      return out;
    },
    ...(blocks ? { blocks: pickedBlocks(blocks, pick) } : {}),
  };
}

/** Matrices of the same width below each other. */
export function concatRows(parts: readonly RowSource[]): RowSource {
  if (parts.length === 1) return parts[0];
  const { cols } = parts[0];
  const blocks = concatBlocks(parts);
  return {
    rows: parts.reduce((sum, part) => sum + part.rows, 0),
    cols,
    async read(start, count) {
      const out = new Float32Array(count * cols);
      await concatenate(out, cols, parts, start, count, (part) => part.read);
      return out;
    },
    ...(blocks ? { blocks } : {}),
  };
}

/** Null where a part has no blocks, or blocks of another format. */
function concatBlocks(parts: readonly RowSource[]): BlockRows | null {
  const first = parts[0].blocks;
  if (!first || parts.some(({ blocks }) => blocks?.format !== first.format)) return null;
  const { format, rowBytes, location } = first;
  let end = location?.offset ?? 0;
  const isOnePiece = parts.every(({ rows, blocks }) => {
    const isNext =
      location !== undefined && blocks!.location?.path === location.path && blocks!.location.offset === end;
    end += rows * rowBytes;
    return isNext;
  });
  return {
    format,
    rowBytes,
    ...(isOnePiece ? { location } : {}),
    async read(start, count, into) {
      const out = into ?? new Uint8Array(count * rowBytes);
      await concatenate(out, rowBytes, parts, start, count, (part) => part.blocks!.read);
      return out;
    },
  };
}

/** Rows `start … start + count` of parts below each other. */
async function concatenate<T extends Gatherable>(
  out: T,
  size: number,
  parts: readonly RowSource[],
  start: number,
  count: number,
  reader: (part: RowSource) => ReadRows<T>,
): Promise<void> {
  let first = 0;
  const reads = parts.map(async (part) => {
    const from = Math.max(start, first);
    const to = Math.min(start + count, first + part.rows);
    const own = from - first;
    first += part.rows;
    if (from >= to) return;
    await readInto(out.subarray((from - start) * size, (to - start) * size), reader(part), own, to - from);
  });
  await Promise.all(reads);
}

/** Rows of several matrices of the same size by turns: row 0 of each, row 1 of each, … */
export function interleaveRows(parts: readonly RowSource[]): RowSource {
  const { rows, cols } = parts[0];
  const n = parts.length;
  return {
    rows: n * rows,
    cols,
    async read(start, count) {
      const out = new Float32Array(count * cols);
      const [first, last] = [Math.floor(start / n), Math.ceil((start + count) / n)];
      for (const [i, part] of parts.entries()) {
        const values = await part.read(first, last - first);
        for (let row = first; row < last; row++) {
          const at = row * n + i - start;
          if (at >= 0 && at < count)
            out.set(values.subarray((row - first) * cols, (row - first + 1) * cols), at * cols);
        }
      }
      return out;
    },
  };
}

/** Every value through a function. */
export function mapRows({ rows, cols, read }: RowSource, map: (value: number) => number): RowSource {
  return { rows, cols, read: async (start, count) => (await read(start, count)).map(map) };
}

/** The matrix turned around. Its source is read whole, in strips, for each piece, unless it is stored turned around. */
export function transpose(whole: RowSource): RowSource {
  if (whole.transposed) return whole.transposed;
  const { rows: cols, cols: rows } = whole;
  return {
    rows,
    cols,
    async read(start, count) {
      const out = new Float32Array(count * cols);
      const step = Math.max(1, Math.floor(PIECE_VALUES / rows));
      for (let at = 0; at < cols; at += step) {
        const height = Math.min(step, cols - at);
        const strip = await whole.read(at, height);
        for (let i = 0; i < height; i++)
          for (let j = 0; j < count; j++) out[j * cols + at + i] = strip[i * rows + start + j];
      }
      return out;
    },
  };
}
