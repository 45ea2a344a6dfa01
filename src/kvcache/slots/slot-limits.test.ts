import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { tokensFrom } from '../../../test/support/cache-runs.ts';
import { anyTable } from '../../../test/support/calibration.ts';
import { fakeStep } from '../../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../../test/support/fake-model.ts';
import { range } from '../../util/numbers.ts';
import { mostBytes } from '../byte-budget.ts';
import type { KVCache } from '../kv-cache.ts';
import { createCache } from '../policies.ts';
import { LayerGroup } from './layer-group.ts';
import type { SlotTable } from './slots.ts';

const any = fc.record({
  seed: fc.nat(1e6),
  windows: fc.array(fc.constantFrom(null, 5), { minLength: 1, maxLength: 3 }).filter((list) => list.includes(null)),
  groups: fc.integer({ min: 1, max: 3 }),
  cacheLength: fc.integer({ min: 1, max: 24 }),
  length: fc.integer({ min: 1, max: 120 }),
  policy: fc.constantFrom('routed', 'routed(echo, h2o)', 'routed(h2o, mix(h2o, leverage))'),
  buffer: fc.constantFrom('float32' as const, 'int8' as const, 'int4' as const),
  growth: fc.integer({ min: 1, max: 9 }),
  chunks: fc.array(fc.integer({ min: 1, max: 30 }), { minLength: 1, maxLength: 9 }),
});

type Given = typeof any extends fc.Arbitrary<infer T> ? T : never;

function openRouted(given: Given) {
  const { seed, windows, groups, cacheLength, length, policy, buffer, growth } = given;
  const shape = fakeShape({ windows, groups, heads: 1, headSize: 4 });
  const options = { policy, cacheLength, length, buffer, table: anyTable(shape, seed) };
  return { model: new FakeModel(shape, seed), cache: createCache(shape, options, growth) };
}

/** A sum over all slots that a window does not bound, in bytes, for so many slots of each group. */
function bytesOf({ store }: KVCache, slots: (table: SlotTable, group: number) => number): number {
  let bytes = 0;
  for (const table of store.tables.values()) {
    if (table.window !== null) continue;
    const buffers = table.layers.map((l) => store.buffers[l]!);
    const group = new LayerGroup(table, buffers);
    for (const g of range(table.groups)) bytes += slots(table, g) * (group.slotBytes(g) + 4 + table.slotStateBytes);
  }
  return bytes;
}

describe('budgets that follow the length', () => {
  it('keep everything while it fits, never more bytes than the budgets, and the budgets in the end', () => {
    fc.assert(
      fc.property(any, (given) => {
        const { model, cache } = openRouted(given);
        const { cacheLength } = given;
        const tables = [...cache.store.tables.values()].filter(({ window }) => window === null);
        const longest = Math.max(...tables.flatMap(({ budgets }) => budgets));
        // Where layers differ in the bytes of a slot, either may be more.
        const limit = Math.max(
          bytesOf(cache, ({ budgets }, g) => budgets[g]),
          bytesOf(cache, () => cacheLength),
        );
        const most = mostBytes(cache, 270);
        for (const count of [...given.chunks, 2 * longest]) {
          fakeStep(model, cache, [tokensFrom(0, cache.length(), count)]);
          cache.store.dropUndo(0, false);
          const length = cache.length();
          const held = tables.flatMap((table) => [...table.filledOf(0)]);
          if (length <= cacheLength) for (const slots of held) expect(slots).toBe(length);
          expect(bytesOf(cache, ({ filled }, g) => filled[g])).toBeLessThanOrEqual(limit);
          expect(cache.memory().keysAndValues).toBeLessThanOrEqual(cache.memory().keysAndValuesLimit);
          if (length <= 270) expect(cache.memory().total).toBeLessThanOrEqual(most);
        }
        for (const table of tables) expect([...table.filledOf(0)]).toEqual(table.budgets);
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  it('take from the groups with the fewest slots first, and give a group no fewer than one with a smaller budget', () => {
    fc.assert(
      fc.property(any, fc.integer({ min: 1, max: 200 }), (given, length) => {
        const { cache } = openRouted(given);
        const { limits, tables } = cache.store;
        const groups = [...tables.values()]
          .filter(({ window }) => window === null)
          .flatMap((table) => table.budgets.map((budget, g) => ({ budget, slots: limits.at(table, length)[g] })))
          .sort((a, b) => a.budget - b.budget);
        for (const [i, { budget, slots }] of groups.entries()) {
          expect(slots).toBeGreaterThanOrEqual(Math.min(length, budget));
          if (i > 0) expect(slots).toBeGreaterThanOrEqual(groups[i - 1].slots);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('are of each row alone: what a batch keeps of a row is what it keeps alone', () => {
    const given = { seed: 5, windows: [null, null], groups: 2, cacheLength: 16, length: 80, growth: 4 } as const;
    const { model, cache } = openRouted({
      ...given,
      windows: [null, null],
      policy: 'routed',
      buffer: 'float32',
      chunks: [],
    });
    const both = cache.recreate(2);
    for (const _ of range(30)) {
      const tokens = tokensFrom(0, cache.length(), 2);
      fakeStep(model, cache, [tokens]);
      fakeStep(model, both, [tokens, tokensFrom(1, both.length(1), 1)]);
      expect(both.contents(0)).toEqual(cache.contents(0));
    }
    const alone = cache.recreate(1);
    alone.copyRow(both, 0, 0);
    expect(alone.contents(0)).toEqual(cache.contents(0));
    expect(alone.memory().total).toBeLessThanOrEqual(mostBytes(alone, 80));
  });
});
