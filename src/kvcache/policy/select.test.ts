import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GraphError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import { GroupView } from './group-view.ts';
import { keepBest, type SafeTokens } from './select.ts';
import type { LayerView } from './view.ts';

/** A group with so many candidates, in any order of positions. */
function group(
  positions: readonly number[],
  values: readonly number[],
  budget: number,
  gone: readonly number[] = [],
): GroupView {
  const view = new GroupView(null as unknown as LayerView, 0);
  view.reset(positions.length, 0, budget, 0);
  view.positions.set(positions);
  view.values.set(values);
  for (const j of gone) view.evict(j);
  return view;
}

const kept = (view: GroupView): number[] => range(view.length).filter((j) => view.keep[j] === 1);

/** The rule, word by word. */
function best(
  positions: readonly number[],
  values: readonly number[],
  gone: readonly number[],
  budget: number,
  now: number,
  { sinks, recent }: SafeTokens,
) {
  const all = range(positions.length).filter((j) => !gone.includes(j));
  if (all.length <= budget) return all;
  const safe = all.filter((j) => positions[j] < sinks || positions[j] > now - recent);
  const rest = all.filter((j) => !safe.includes(j));
  rest.sort((a, b) => values[b] - values[a] || positions[b] - positions[a]);
  return [...safe, ...rest.slice(0, budget - safe.length)].sort((a, b) => a - b);
}

describe('keepBest', () => {
  it('trap 3: is a total order, with or without ties: higher value, then younger position', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(60), { minLength: 1, maxLength: 30 }),
        fc.infiniteStream(fc.constantFrom(0, 1, 2, -1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)),
        fc.array(fc.nat(29), { maxLength: 4 }),
        fc.nat(30),
        fc.nat(4),
        fc.integer({ min: 1, max: 5 }),
        (positions, stream, gone, less, sinks, recent) => {
          const values = range(positions.length).map(() => stream.next().value as number);
          const now = Math.max(...positions);
          const safe = { sinks, recent };
          const hidden = gone.filter((j) => j < positions.length);
          const safeCount = positions.filter((p, j) => !hidden.includes(j) && (p < sinks || p > now - recent)).length;
          // Few go one by one, many by sorting: both ways must say the same.
          const budget = Math.max(safeCount, positions.length - less);
          const view = group(positions, values, budget, hidden);
          keepBest(view, now, safe);
          expect(kept(view)).toEqual(best(positions, values, hidden, budget, now, safe));
        },
      ),
      { numRuns: 2000, seed: 1 },
    );
  });

  it('divides sums by the queries that could see a slot, of those that were counted', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.nat(60), { minLength: 1, maxLength: 30 }),
        fc.infiniteStream(fc.constantFrom(0, 1, 2, 3, 6, -1, 0.1, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY)),
        fc.constantFrom(1, 2, 5, Number.POSITIVE_INFINITY),
        fc.nat(8),
        (positions, stream, counted, less) => {
          const sums = Float64Array.from(positions, () => stream.next().value as number);
          const now = Math.max(...positions);
          const safe = { sinks: 2, recent: 1 };
          const means = positions.map((position, j) => sums[j] / Math.min(now - position + 1, counted));
          const safeCount = positions.filter((p) => p < 2 || p === now).length;
          const budget = Math.max(safeCount, positions.length - less);
          const view = group(positions, [], budget);
          keepBest(view, now, safe, { sums, counted });
          expect(kept(view)).toEqual(best(positions, means, [], budget, now, safe));
        },
      ),
      { numRuns: 2000, seed: 1 },
    );
  });

  it('refuses values that are not numbers, of those that may go', () => {
    for (const budget of [8, 2]) {
      const values = range(10).map((j) => (j === 5 ? Number.NaN : j));
      const positions = range(10);
      expect(() => keepBest(group(positions, values, budget), 9, { sinks: 0, recent: 1 })).toThrow(GraphError);
      expect(() => keepBest(group(positions, values, budget), 9, { sinks: 0, recent: 1 })).toThrow(
        /position 5 is not a number/,
      );
      keepBest(group(positions, values, budget + 5), 9, { sinks: 6, recent: 1 });
    }
  });

  it('refuses to go below what is safe', () => {
    for (const [sinks, recent] of [
      [3, 3],
      [1, 8],
    ]) {
      const view = group(range(10), range(10), 5);
      expect(() => keepBest(view, 9, { sinks, recent })).toThrow(GraphError);
    }
  });
});
