/**
 * @file Arrays behind each other, and matrices beside each other.
 */
import { range } from '../../util/numbers.ts';
import type { Matrix } from '../types.ts';

export function joined(arrays: readonly Float32Array[]): Float32Array {
  const out = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    out.set(array, at);
    at += array.length;
  }
  return out;
}

/** Matrices of as many rows beside each other. */
export function sideBySide(parts: readonly Matrix[]): Matrix {
  if (parts.length === 1) return parts[0];
  const { rows } = parts[0];
  const cols = parts.reduce((sum, part) => sum + part.cols, 0);
  const data = new Float32Array(rows * cols);
  for (const row of range(rows)) {
    let at = row * cols;
    for (const part of parts) {
      data.set(part.data.subarray(row * part.cols, (row + 1) * part.cols), at);
      at += part.cols;
    }
  }
  return { rows, cols, data };
}
