import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_BUFFERS,
  anyRun,
  budgetOf,
  cacheOptions,
  check,
  checkCache,
  contentOf,
  EVICTING,
  expectSame,
  type Run,
  stepTokens,
  type TestPolicy,
  tokensFrom,
} from '../../test/support/cache-runs.ts';
import { fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../test/support/fake-model.ts';
import { range } from '../util/numbers.ts';
import type { KVCache } from './kv-cache.ts';
import { pyramid } from './policies/pyramid.ts';
import { createCache } from './policies.ts';

/** How many slots a layer's groups hold [group]. */
const held = (cache: KVCache, l: number, row: number): number[] =>
  range(cache.shape.layers[l].groups).map((g) => cache.tokenPositions(l, row, g).length);

describe('the budget is hard', () => {
  it('for every policy: no layer holds more than its own after any step, and memory keeps within its limit', () => {
    const runs = anyRun({ rows: 2, buffers: ALL_BUFFERS, steps: 8, headSizes: [2, 4] });
    let steps = 0;
    check(
      fc.property(runs, fc.constantFrom(...EVICTING), (run, policy) => {
        const shape = fakeShape(run.shape);
        const model = new FakeModel(shape, run.seed);
        const cache = createCache(shape, cacheOptions(run, policy));
        for (const step of run.steps) {
          fakeStep(model, cache, stepTokens(cache, step), step);
          // It says for each layer and group that the budget was kept, or throws.
          checkCache(model, cache);
          const { keysAndValues, keysAndValuesLimit, total, bookkeeping } = cache.memory();
          expect(keysAndValues).toBeLessThanOrEqual(keysAndValuesLimit);
          expect(total).toBe(keysAndValues + bookkeeping);
          steps++;
        }
      }),
      1000,
    );
    expect(steps).toBeGreaterThan(3000);
  });

  /** How a layer's groups may share: never more in all than their budgets, and none below its floor. */
  function checkShares(run: Run, policy: TestPolicy, floor: number): void {
    const shape = fakeShape(run.shape);
    const model = new FakeModel(shape, run.seed);
    const cache = createCache(shape, cacheOptions(run, policy));
    for (const step of run.steps) {
      fakeStep(model, cache, stepTokens(cache, step), step);
      for (const [l, { window }] of shape.layers.entries())
        for (const row of range(run.rows)) {
          const budget = budgetOf(cache, l, row, 0);
          const counts = held(cache, l, row);
          expect(counts.reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(counts.length * budget);
          const own = Math.max(1, Math.floor(floor * cache.store.tableOf(l)!.budget));
          // A window hides no more of a group than comes in.
          const least = window === 1 ? 0 : Math.min(own, cache.length(row));
          for (const count of counts) expect(count).toBeGreaterThanOrEqual(least);
        }
    }
  }

  it.each([0, 0.2, 0.5, 1])(
    'groups that share keep within the budget of their layer, and have their floor: %s',
    (floor) => {
      const shared = EVICTING.filter(({ name }) => name.startsWith('ada('));
      check(
        fc.property(anyRun({ rows: 2, headSizes: [2, 4] }), fc.constantFrom(...shared), (run, { name, options }) =>
          checkShares(run, { name, safe: true, lossy: true, options: { ada: { floor }, ...options } }, floor),
        ),
        60,
      );
    },
  );

  it('groups that share really differ', () => {
    const shape = fakeShape({ windows: [null], groups: 3, heads: 1, headSize: 2 });
    const ragged = range(10).filter((seed) => {
      const model = new FakeModel(shape, seed);
      const cache = createCache(shape, { policy: 'ada(h2o)', cacheLength: 8, sinks: 0, recent: 1 });
      for (const _ of range(50)) fakeStep(model, cache, stepTokens(cache, { lengths: [1], phase: 'decode' }));
      return new Set(held(cache, 0, 0)).size > 1;
    });
    expect(ragged.length).toBeGreaterThan(7);
  });
});

describe('pyramid', () => {
  it('gives layers budgets that fall, and average to the cacheLength exactly', () => {
    check(
      fc.property(
        fc.integer({ min: 1, max: 80 }),
        fc.integer({ min: 1, max: 5000 }),
        fc.oneof(fc.integer({ min: 1, max: 40 }), fc.double({ min: 1, max: 100, noNaN: true })),
        (nLayer, cacheLength, beta) => {
          const budget = pyramid(nLayer, { cacheLength, beta });
          const budgets = range(nLayer).map(budget);
          expect(budgets.reduce((a, b) => a + b, 0)).toBe(nLayer * cacheLength);
          expect(budgets).toEqual([...budgets].sort((a, b) => b - a));
          expect(Math.min(...budgets)).toBeGreaterThanOrEqual(1);
          if (nLayer > 1)
            expect(Math.abs(budgets[nLayer - 1] - Math.max(1, cacheLength / beta))).toBeLessThanOrEqual(0.5);
        },
      ),
      500,
    );
  });

  it('is whole while all fits, then cut at once, and the memory is given back; the cut can be taken back', () => {
    const shape = fakeShape({ windows: [null, null, null], groups: 1, heads: 1, headSize: 4 });
    const model = new FakeModel(shape, 1);
    const cache = createCache(shape, { policy: 'pyramid', cacheLength: 40, beta: 10, window: 4 }, 4);
    const feed = (count: number) => fakeStep(model, cache, [tokensFrom(0, cache.length(), count)]);
    feed(40);
    expect(range(3).map((l) => cache.tokenPositions(l))).toEqual(range(3).map(() => range(40)));
    const whole = contentOf(cache);
    const { keysAndValues } = cache.memory();
    feed(1);
    // The first layer may hold more; the last one is down to a tenth.
    expect(range(3).map((l) => cache.tokenPositions(l).length)).toEqual([41, 40, 4]);
    expect(cache.memory().keysAndValues).toBeLessThan(keysAndValues);
    cache.truncate(40);
    expectSame(contentOf(cache), whole);
    checkCache(model, cache);
    feed(2);
    expect(range(3).map((l) => cache.tokenPositions(l).length)).toEqual([42, 40, 4]);
    checkCache(model, cache);
  });

  it('rounds halves to even, so that no half counts twice', () => {
    const budget = pyramid(5, { cacheLength: 10 });
    expect(range(5).map(budget)).toEqual([19, 14, 10, 6, 1]);
  });
});
