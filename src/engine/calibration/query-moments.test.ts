import { describe, expect, it } from 'vitest';
import { feedbackOf } from '../../kvcache/buffers/key-rounding.ts';
import type { LayerShape } from '../../kvcache/shape.ts';
import { range } from '../../util/numbers.ts';
import { feedback, QueryMoments } from './query-moments.ts';

const SIZE = 6;
const LAYER: LayerShape = {
  slots: true,
  groups: 2,
  heads: 4,
  keySize: SIZE,
  valueSize: SIZE,
  attentionScale: 1,
  window: null,
  rotation: null,
};

/** Σ q·qᵀ of some vectors, and a multiple of the identity. */
function momentsOf(seed: number, diagonal: number): Float64Array {
  const moments = new Float64Array(SIZE * SIZE);
  for (const n of range(9)) {
    const q = range(SIZE).map((i) => Math.sin(seed * (n + 1) + i * i) * (1 + i));
    for (const i of range(SIZE)) for (const j of range(SIZE)) moments[i * SIZE + j] += q[i] * q[j];
  }
  for (const i of range(SIZE)) moments[i * (SIZE + 1)] += diagonal;
  return moments;
}

/** Solves A·x = b by Gauss and Jordan: another way than the one that is tested. */
function solve(A: number[][], b: number[]): number[] {
  const rows = A.map((row, i) => [...row, b[i]]);
  for (const i of range(rows.length)) {
    const pivot = rows[i][i];
    rows[i] = rows[i].map((x) => x / pivot);
    for (const [r, row] of rows.entries()) if (r !== i) rows[r] = row.map((x, c) => x - row[i] * rows[i][c]);
  }
  return rows.map((row) => row.at(-1)!);
}

describe('the feedback of moments M', () => {
  it('leaves the least eᵀMe where later numbers make up for an error', () => {
    for (const seed of range(5)) {
      const M = momentsOf(seed + 1, 0.5);
      const rows = feedback(M, SIZE);
      let at = 0;
      for (const i of range(SIZE)) {
        const later = range(SIZE).slice(i + 1);
        // An error of 1 in number i: the later errors x that leave the least are those with M_ll·x = -M_li.
        const A = later.map((a) => later.map((b) => M[a * SIZE + b]));
        const b = later.map((a) => -M[a * SIZE + i]);
        const least = later.length > 0 ? solve(A, b) : [];
        // A number that is taken less f has an error of f.
        for (const x of least) expect(rows[at++]).toBeCloseTo(x, 4);
      }
      expect(at).toBe(rows.length);
    }
  });

  it('is none where numbers of queries are independent', () => {
    const M = new Float64Array(SIZE * SIZE);
    for (const i of range(SIZE)) M[i * (SIZE + 1)] = i + 1;
    expect([...feedback(M, SIZE)].every((x) => Math.abs(x) === 0)).toBe(true);
  });
});

describe('roundings', () => {
  it('are of the moments of all heads of a group, and the same for multiples', () => {
    const heads = range(4).map((head) => momentsOf(head + 1, 0));
    const products = (factor: number) =>
      Float32Array.from(heads.flatMap((moments) => [...moments].map((x) => factor * x)));
    const roundings = (factor: number) => {
      const moments = new QueryMoments(LAYER);
      moments.add({ queryProducts: products(factor) });
      moments.add({ queryProducts: products(factor) });
      return moments.roundings()!;
    };
    for (const g of range(2)) {
      const M = heads[2 * g].map((x, i) => x + heads[2 * g + 1][i]);
      const trace = range(SIZE).reduce((sum, i) => sum + M[i * (SIZE + 1)], 0);
      const shrunk = M.map((x, at) => (SIZE * x) / trace + (at % (SIZE + 1) === 0 ? 0.1 : 0));
      const expected = feedback(shrunk, SIZE);
      for (const factor of [1, 1e6]) {
        const rounding = roundings(factor)[g];
        for (const [i, x] of feedbackOf(rounding, SIZE).entries())
          expect(Math.abs(x - expected[i])).toBeLessThan(2e-3 * Math.max(1, Math.abs(expected[i])));
      }
    }
  });

  it('change nothing where queries are 0 or no numbers, and are none where keys are values, too', () => {
    const moments = new QueryMoments(LAYER);
    moments.add({ queryProducts: null });
    expect(moments.roundings()).toBeNull();
    for (const x of [0, Number.NaN]) {
      const moments = new QueryMoments(LAYER);
      moments.add({ queryProducts: new Float32Array(4 * SIZE * SIZE).fill(x) });
      for (const rounding of moments.roundings()!)
        expect([...feedbackOf(rounding, SIZE)].every((x) => x === 0)).toBe(true);
    }
  });
});
