import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { check } from '../../../test/support/cache-runs.ts';
import { range } from '../../util/numbers.ts';
import { groupedParts } from './table-parts.ts';

const groups = fc.array(fc.record({ budget: fc.integer({ min: 1, max: 2000 }), kind: fc.constantFrom('a', 'b') }), {
  minLength: 1,
  maxLength: 6,
});

/** Slots of all parts, filled up, and 128 for each part. */
const costOf = (parts: readonly (readonly number[])[], budgets: readonly number[]): number =>
  parts.reduce((sum, part) => sum + 128 + part.length * Math.max(...part.map((g) => budgets[g])), 0);

/** All ways to distribute groups. */
function* partitions(items: readonly number[]): Generator<number[][]> {
  if (items.length === 0) return yield [];
  const [first, ...rest] = items;
  for (const parts of partitions(rest)) {
    yield [[first], ...parts];
    for (const i of parts.keys()) yield parts.map((part, j) => (i === j ? [first, ...part] : part));
  }
}

describe('groups that a step reads together', () => {
  it('are in one part each, of one kind, at the least cost', () => {
    check(
      fc.property(groups, (all) => {
        const budgets = all.map(({ budget }) => budget);
        const kinds = all.map(({ kind }) => kind);
        const parts = groupedParts(budgets, kinds);
        expect(parts.flat().sort((a, b) => a - b)).toEqual(range(all.length));
        for (const part of parts) {
          expect(part).toEqual([...part].sort((a, b) => a - b));
          expect(new Set(part.map((g) => kinds[g])).size).toBe(1);
        }
        const costs = [...partitions(range(all.length))]
          .filter((given) => given.every((part) => new Set(part.map((g) => kinds[g])).size === 1))
          .map((given) => costOf(given, budgets));
        expect(costOf(parts, budgets)).toBe(Math.min(...costs));
      }),
      200,
    );
  });
});
