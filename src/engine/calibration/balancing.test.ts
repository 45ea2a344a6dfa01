import { describe, expect, it } from 'vitest';
import { range } from '../../util/numbers.ts';
import { balancingTriangle } from './balancing.ts';

const SIZE = 16;

/** Σ x·xᵀ of vectors whose dimensions differ by a factor of 100, and depend on each other. */
function moments(seed: number, count: number): Float64Array {
  const sum = new Float64Array(SIZE * SIZE);
  for (const n of range(count)) {
    const x = range(SIZE).map(
      (i) => Math.sin(seed * (n + 1) * (i + 2)) * 10 ** (((i * seed) % 5) / 2) + Math.cos(seed + n),
    );
    for (const a of range(SIZE)) for (const b of range(SIZE)) sum[a * SIZE + b] += x[a] * x[b];
  }
  return sum;
}

type Matrix = readonly (readonly number[])[];
const matrixOf = (flat: ArrayLike<number>): Matrix =>
  range(SIZE).map((i) => range(SIZE).map((j) => flat[i * SIZE + j]));
const transposed = (a: Matrix): Matrix => a.map((_, i) => a.map((row) => row[i]));
const times = (a: Matrix, b: Matrix): Matrix =>
  a.map((row) => b[0].map((_, j) => row.reduce((sum, x, n) => sum + x * b[n][j], 0)));
const trace = (a: Matrix): number => a.reduce((sum, row, i) => sum + row[i], 0);

/** The inverse of an upper triangular matrix. */
function inverse(R: Matrix): Matrix {
  const X = R.map((row) => row.map(() => 0));
  for (const j of range(SIZE))
    for (let i = j; i >= 0; i--)
      X[i][j] = ((i === j ? 1 : 0) - range(SIZE).reduce((s, n) => s + (n > i ? R[i][n] * X[n][j] : 0), 0)) / R[i][i];
  return X;
}

describe('a balancing triangle', () => {
  it('gives keys and queries the same moments, and the least product of their traces', () => {
    const [q, k] = [moments(1.3, 100), moments(2.7, 100)];
    const R = matrixOf(balancingTriangle(q, k, SIZE));
    for (const i of range(SIZE)) for (const j of range(i)) expect(R[i][j]).toBe(0);
    const [Q, K] = [matrixOf(q), matrixOf(k)];
    const momentsBy = (M: Matrix) => {
      const N = inverse(M);
      return [times(times(transposed(N), Q), N), times(times(M, K), transposed(M))];
    };
    const [ofQueries, ofKeys] = momentsBy(R);
    const factor = trace(ofQueries) / trace(ofKeys);
    for (const i of range(SIZE))
      for (const j of range(SIZE))
        expect(Math.abs(ofQueries[i][j] / factor - ofKeys[i][j]) / trace(ofKeys)).toBeLessThan(0.01);
    const product = (M: Matrix) =>
      momentsBy(M)
        .map(trace)
        .reduce((a, b) => a * b);
    const least = product(R);
    expect(least).toBeLessThan(0.5 * trace(Q) * trace(K));
    for (const n of range(20)) {
      const [i, j] = [n % SIZE, Math.min(SIZE - 1, (n * 7) % SIZE)];
      const moved = R.map((row, a) => row.map((x, b) => x + (a === Math.min(i, j) && b === Math.max(i, j) ? 0.3 : 0)));
      expect(product(moved)).toBeGreaterThan(0.999 * least);
    }
  });

  it('has an inverse for moments of fewer vectors than dimensions, and of none', () => {
    for (const count of [0, 1, 5]) {
      const R = balancingTriangle(moments(1.3, count), moments(2.7, count), SIZE);
      const diagonal = range(SIZE).map((i) => R[i * SIZE + i]);
      expect(Math.max(...diagonal) / Math.min(...diagonal)).toBeLessThan(1e4);
      expect(R.every(Number.isFinite)).toBe(true);
      expect(diagonal.reduce((sum, x) => sum + x * x, 0) / SIZE).toBeCloseTo(1, 6);
    }
  });
});
