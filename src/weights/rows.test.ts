import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StoredTensor } from '../checkpoint/types.ts';
import { CheckpointError } from '../util/errors.ts';
import { concatRows, interleaveRows, mapRows, pickRows, sliceRows, tensorRows, transpose } from './rows.ts';
import type { RowSource } from './types.ts';

/** A tensor whose values are 0, 1, 2, …, so that a value says where it came from. */
function counting(shape: readonly number[], from = 0): StoredTensor {
  return {
    name: 'some.weight',
    dtype: 'F32',
    shape,
    readFloats: async (start, count) => Float32Array.from({ length: count }, (_, i) => from + start + i),
  };
}

async function all(source: RowSource, step = source.rows): Promise<number[]> {
  const out: number[] = [];
  for (let at = 0; at < source.rows; at += step) out.push(...(await source.read(at, Math.min(step, source.rows - at))));
  return out;
}

const matrix = (rows: number, cols: number, from = 0) => tensorRows(counting([rows, cols], from), rows, cols);

describe('tensorRows', () => {
  it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])(
    'refuses %d by tensor and row',
    async (bad) => {
      const tensor = counting([3, 2]);
      const damaged = {
        ...tensor,
        readFloats: async (start: number, count: number) =>
          (await tensor.readFloats(start, count)).map((value) => (value === 5 ? bad : value)),
      };
      const rows = tensorRows(damaged, 3, 2);
      expect(await rows.read(0, 2)).toEqual(Float32Array.of(0, 1, 2, 3));
      await expect(rows.read(1, 2)).rejects.toThrow(
        new CheckpointError(
          `the tensor some.weight holds ${bad} in row 2, column 1; the file is damaged, or was saved by a training run that diverged`,
        ),
      );
    },
  );

  it('takes vectors, matrices, and vectors that are stored as a matrix', async () => {
    expect(await all(tensorRows(counting([3]), 3, 1))).toEqual([0, 1, 2]);
    expect(await all(tensorRows(counting([3, 1]), 3, 1))).toEqual([0, 1, 2]);
    expect(await all(tensorRows(counting([2, 3]), 6, 1))).toEqual([0, 1, 2, 3, 4, 5]);
    expect(await all(tensorRows(counting([2, 1, 3]), 2, 3))).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('names both shapes where they disagree', () => {
    expect(() => tensorRows(counting([3, 4]), 4, 3)).toThrow(CheckpointError);
    expect(() => tensorRows(counting([3, 4]), 4, 3)).toThrow(/some\.weight.*\[3,4\].*\[4,3\]/);
    expect(() => tensorRows(counting([5]), 4, 1)).toThrow(/\[5\].*\[4\]/);
  });
});

describe('views of rows', () => {
  it('cut, join, reorder and map', async () => {
    expect(await all(sliceRows(matrix(4, 2), 1, 2))).toEqual([2, 3, 4, 5]);
    expect(await all(concatRows([matrix(1, 2), matrix(2, 2, 10)]))).toEqual([0, 1, 10, 11, 12, 13]);
    expect(await all(pickRows(matrix(4, 2), (row) => 3 - row, 4))).toEqual([6, 7, 4, 5, 2, 3, 0, 1]);
    expect(await all(interleaveRows([matrix(2, 1), matrix(2, 1, 10)]))).toEqual([0, 10, 1, 11]);
    expect(await all(mapRows(matrix(1, 3), (w) => w + 1))).toEqual([1, 2, 3]);
    expect(await all(transpose(matrix(2, 3)))).toEqual([0, 3, 1, 4, 2, 5]);
  });

  it('give the same rows whatever the pieces they are read in', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 6 }),
        fc.integer({ min: 1, max: 5 }),
        fc.nat(7),
        async (rows, cols, seed) => {
          const mixed = pickRows(
            concatRows([interleaveRows([matrix(rows, cols), transpose(matrix(cols, rows, 100))])]),
            (row) => (row * 5 + seed) % (2 * rows),
            2 * rows,
          );
          const whole = await all(mixed);
          for (let step = 1; step <= mixed.rows; step++) expect(await all(mixed, step)).toEqual(whole);
        },
      ),
      { numRuns: 50 },
    );
  });
});
