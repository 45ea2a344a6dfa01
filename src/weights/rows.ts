/**
 * @file Matrices that are read row by row, and ways to put them together: nothing is held longer than it is used.
 */
import type { StoredTensor } from '../checkpoint/types.ts';
import { CheckpointError } from '../util/errors.ts';
import type { RowSource } from './types.ts';

/**
 * A checkpoint's tensor as rows. Vectors are one column; tensors of more axes are seen as the matrix of their last one, or of their
 * first.
 * @throws CheckpointError where its shape is another than the model's.
 */
export function tensorRows(tensor: StoredTensor, rows: number, cols: number): RowSource {
  const shape = tensor.shape.filter((length) => length !== 1);
  const wanted = [rows, cols].filter((length) => length !== 1);
  const last = shape.at(-1) ?? 1;
  const rest = shape.slice(1).reduce((a, b) => a * b, 1);
  const byFirst = shape.length > 2 && shape[0] === rows && rest === cols;
  const byLast = [shape.slice(0, -1).reduce((a, b) => a * b, 1), last];
  const folded = byFirst ? [rows, cols] : shape.length > 2 ? byLast : shape;
  // A vector of all heads may be stored as [heads, headSize].
  const flat = cols === 1 ? [shape.reduce((a, b) => a * b, 1)].filter((length) => length !== 1) : folded;
  if (`${flat}` !== `${wanted}`)
    throw new CheckpointError(
      `the tensor ${tensor.name} has shape [${tensor.shape}], but config.json makes it [${cols === 1 ? rows : [rows, cols]}]`,
    );
  return {
    rows,
    cols,
    async read(start, count) {
      const values = await tensor.readFloats(start * cols, count * cols);
      checkFinite(tensor.name, values, start, cols);
      return values;
    },
  };
}

/**
 * Quantised products hide NaN and Infinity, so no format takes them.
 * @throws CheckpointError names the tensor and the row.
 */
export function checkFinite(name: string, values: Float32Array, firstRow: number, cols: number): void {
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
  return { rows, cols: whole.cols, read: (at, count) => whole.read(start + at, count) };
}

/** Rows in another order: row i is row `pick(i)` of the whole. Runs of neighbours are read in one piece. */
export function pickRows(whole: RowSource, pick: (row: number) => number, rows: number): RowSource {
  const { cols } = whole;
  return {
    rows,
    cols,
    async read(start, count) {
      const out = new Float32Array(count * cols);
      for (let i = 0; i < count; ) {
        const first = pick(start + i);
        let run = 1;
        while (i + run < count && pick(start + i + run) === first + run) run++;
        out.set(await whole.read(first, run), i * cols);
        i += run;
      }
      return out;
    },
  };
}

/** Matrices of the same width below each other. */
export function concatRows(parts: readonly RowSource[]): RowSource {
  if (parts.length === 1) return parts[0];
  const { cols } = parts[0];
  return {
    rows: parts.reduce((sum, part) => sum + part.rows, 0),
    cols,
    async read(start, count) {
      const out = new Float32Array(count * cols);
      let first = 0;
      for (const part of parts) {
        const from = Math.max(start, first);
        const to = Math.min(start + count, first + part.rows);
        if (from < to) out.set(await part.read(from - first, to - from), (from - start) * cols);
        first += part.rows;
      }
      return out;
    },
  };
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
export function mapRows(whole: RowSource, map: (value: number) => number): RowSource {
  return { ...whole, read: async (start, count) => (await whole.read(start, count)).map(map) };
}

/** Values that are read of a matrix at once where it must be turned around. */
const STRIP = 2 ** 22;

/** The matrix turned around. Its source is read whole, in strips, for each piece. */
export function transpose(whole: RowSource): RowSource {
  const { rows: cols, cols: rows } = whole;
  return {
    rows,
    cols,
    async read(start, count) {
      const out = new Float32Array(count * cols);
      const step = Math.max(1, Math.floor(STRIP / rows));
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
