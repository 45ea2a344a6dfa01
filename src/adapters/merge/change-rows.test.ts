import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { noise } from '../../../test/support/adapters.ts';
import type { RowSource } from '../../weights/types.ts';
import type { Matrix, PartChange } from '../types.ts';
import { changedBias, changedRows, changedVector, factorsOf, rowsOf } from './change-rows.ts';

function rows(count: number, cols: number, values: readonly number[]): RowSource {
  const data = Float32Array.from(values);
  return { rows: count, cols, read: async (start, n) => data.slice(start * cols, (start + n) * cols) };
}

const matrix = (count: number, cols: number, seed: number): Matrix => ({
  rows: count,
  cols,
  data: Float32Array.from(noise(count * cols, seed)),
});

/** (weight or W) + B·A, in double precision. */
function plain(values: readonly number[], out: number, cols: number, { lowRank }: PartChange): number[] {
  const sum = [...values];
  if (lowRank)
    for (let i = 0; i < out; i++)
      for (let j = 0; j < cols; j++)
        for (let k = 0; k < lowRank.a.rows; k++)
          sum[i * cols + j] += lowRank.b.data[i * lowRank.a.rows + k] * lowRank.a.data[k * cols + j];
  return sum;
}

const near = (actual: ArrayLike<number>, expected: readonly number[], error = 1e-5) => {
  expect(actual.length).toBe(expected.length);
  for (let i = 0; i < expected.length; i++) expect(Math.abs(actual[i] - expected[i])).toBeLessThan(error);
};

const SHAPES = fc.record({
  out: fc.integer({ min: 1, max: 6 }),
  cols: fc.integer({ min: 1, max: 5 }),
  rank: fc.integer({ min: 1, max: 3 }),
  seed: fc.nat(1000),
});

describe('rows', () => {
  it('low rank, scale and magnitude are what their formulas say, read in any pieces', async () => {
    await fc.assert(
      fc.asyncProperty(
        SHAPES,
        fc.constantFrom('none', 'scale', 'magnitude'),
        fc.boolean(),
        fc.double({ min: -1, max: 2, noNaN: true }),
        fc.nat(5),
        async ({ out, cols, rank, seed }, kind, replaced, weight, cut) => {
          const own = noise(out * cols, seed).map(Math.fround);
          const other = noise(out * cols, seed + 1).map(Math.fround);
          const numbers = Float32Array.from(noise(out, seed + 2));
          const change: PartChange = {
            lowRank: { a: matrix(rank, cols, seed + 3), b: matrix(out, rank, seed + 4) },
            ...(kind === 'none' ? {} : { [kind]: numbers }),
            ...(replaced ? { weight: rows(out, cols, other) } : {}),
          };
          const made = plain(replaced ? other : own, out, cols, change);
          const expected = made.map((value, at) => {
            const i = Math.floor(at / cols);
            const length = Math.hypot(...made.slice(i * cols, (i + 1) * cols));
            const factor = kind === 'none' ? 1 : kind === 'scale' ? numbers[i] : numbers[i] / length;
            return own[at] + weight * (value * factor - own[at]);
          });
          const source = changedRows(rows(out, cols, own), [{ change, weight }]);
          const first = Math.min(cut, out);
          near([...(await source.read(0, first)), ...(await source.read(first, out - first))], expected, 1e-4);
        },
      ),
    );
  });

  it('several adapters add up', async () => {
    const own = rows(3, 4, noise(12, 1));
    const changes = [2, 3].map((seed) => ({
      change: { lowRank: { a: matrix(2, 4, seed), b: matrix(3, 2, seed + 9) } },
      weight: 0.5,
    }));
    const both = await changedRows(own, changes).read(0, 3);
    const [base, one, two] = await Promise.all([
      own.read(0, 3),
      ...changes.map((change) => changedRows(own, [change]).read(0, 3)),
    ]);
    near(
      both,
      [...base].map((x, i) => one[i] + two[i] - x),
    );
  });

  it('weight 0 is the base itself', async () => {
    const own = rows(2, 2, [1, 2, 3, 4]);
    const change = { scale: Float32Array.of(5, 6), shift: Float32Array.of(1, 1) };
    expect(changedRows(own, [{ change, weight: 0 }])).toBe(own);
    expect(changedBias(own, 2, [{ change, weight: 0 }])).toBe(own);
    expect(rowsOf(own, { shift: Float32Array.of(1, 1) })).toBe(own);
  });

  it("an embedding's magnitude is for its columns", async () => {
    const own = [3, 1, 4, 1];
    const change = { magnitude: Float32Array.of(10, 2) };
    const source = changedRows(rows(2, 2, own), [{ change, weight: 1 }], true);
    near(await source.read(0, 2), [6, Math.SQRT2, 8, Math.SQRT2]);
    near((await factorsOf(rows(2, 2, own), change, true))!, [2, Math.SQRT2]);
  });

  it('a row of zeros stays zero under a magnitude', async () => {
    const source = changedRows(rows(2, 2, [0, 0, 3, 4]), [
      { change: { magnitude: Float32Array.of(7, 10) }, weight: 1 },
    ]);
    expect([...(await source.read(0, 2))]).toEqual([0, 0, 6, 8]);
  });
});

describe('biases', () => {
  const change = { scale: Float32Array.of(2, 3), shift: Float32Array.of(10, 20) };

  it('scale ⊙ (b + shift), also where the base has none', async () => {
    const own = rows(2, 1, [1, 2]);
    expect([...(await changedBias(own, 2, [{ change, weight: 1 }])!.read(0, 2))]).toEqual([22, 66]);
    expect([...(await changedBias(null, 2, [{ change, weight: 1 }])!.read(0, 2))]).toEqual([20, 60]);
    expect([...(await changedBias(own, 2, [{ change, weight: 0.5 }])!.read(1, 1))]).toEqual([34]);
  });

  it('another bias takes the place of the own', async () => {
    const bias = { bias: rows(2, 1, [5, 6]) };
    expect([...(await changedBias(rows(2, 1, [1, 2]), 2, [{ change: bias, weight: 1 }])!.read(0, 2))]).toEqual([5, 6]);
  });

  it('without any there is none', () => {
    expect(changedBias(null, 2, [{ change: { scale: Float32Array.of(2, 2) }, weight: 1 }])).toBeNull();
  });
});

it('vectors move by their weights', async () => {
  const own = rows(2, 1, [1, 2]);
  const others = [
    { rows: rows(2, 1, [3, 3]), weight: 1 },
    { rows: rows(2, 1, [1, 0]), weight: 0.5 },
  ];
  expect([...(await changedVector(own, others).read(0, 2))]).toEqual([3, 2]);
});
