import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { anyRoundings, anyTable } from '../../../test/support/calibration.ts';
import { fakeShape } from '../../../test/support/fake-model.ts';
import { InputError } from '../../util/errors.ts';
import type { KeyRounding } from '../buffers/key-rounding.ts';
import type { CacheOptions } from '../options.ts';
import { createCache } from '../policies.ts';
import { type CalibrationTable, calibratedLayers, LOCAL_WINDOWS, QUANTILES } from './calibration-table.ts';
import { type Routes, routesOf } from './routes.ts';

const shape = fakeShape({ windows: [null, 6, null], groups: 2, heads: 2, headSize: 4 });
const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);

/** A table of given shares of the past (0: none, 1: all of it), and of what is lost by window. */
function tableOf(shares: readonly number[], lost: (group: number, window: number) => number): CalibrationTable {
  const table = anyTable(shape, 1);
  let n = 0;
  const layers = table.layers.map(
    (groups) =>
      groups?.map(() => {
        const g = n++;
        const log = (i: number) => (i >= (1 - shares[g]) * QUANTILES ? -1 : -20);
        return {
          retrieval: Array.from({ length: QUANTILES }, (_, i) => log(i) + i / 1e6),
          local: LOCAL_WINDOWS.map((window) => lost(g, window)),
        };
      }) ?? null,
  );
  return { ...table, layers };
}

describe('routes', () => {
  it('use the whole budget and no slot more, whatever was measured', () => {
    const any = fc.record({
      seed: fc.nat(1e6),
      windows: fc.array(fc.constantFrom(null, 5), { minLength: 1, maxLength: 5 }).filter((list) => list.includes(null)),
      groups: fc.integer({ min: 1, max: 4 }),
      cacheLength: fc.integer({ min: 1, max: 300 }),
      length: fc.option(fc.integer({ min: 1, max: 1000 }), { nil: undefined }),
      beta: fc.double({ min: 0, max: 1, noNaN: true }),
      floor: fc.integer({ min: 1, max: 40 }),
    });
    fc.assert(
      fc.property(any, ({ seed, windows, groups, cacheLength, length, beta, floor }) => {
        const own = fakeShape({ windows, groups, heads: 1, headSize: 4 });
        const { slots, retrieval } = routesOf(anyTable(own, seed), own, cacheLength, { length, beta, floor });
        const layers = calibratedLayers(own);
        expect(sum(layers.flatMap((l) => slots[l]))).toBe(cacheLength * groups * layers.length);
        for (const [l, list] of slots.entries()) {
          expect(list.length).toBe(layers.includes(l) ? groups : 0);
          expect(retrieval[l].length).toBe(list.length);
          for (const count of list) {
            expect(count).toBeGreaterThanOrEqual(Math.min(cacheLength, floor));
            expect(count).toBeLessThanOrEqual(Math.max(length ?? 4 * cacheLength, cacheLength));
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  it('give slots to the group that reads the past, and recent ones to the group that loses most', () => {
    const table = tableOf([0, 0.5, 0, 0], (g, window) => (g === 2 ? 1 / window : 1e-6 / window));
    const { slots, retrieval } = routesOf(table, shape, 100, { length: 400, beta: 0.3 });
    expect(retrieval).toEqual([[0, 1], [], [0, 0]]);
    // Half of the past, and the floor.
    expect(slots[0][1]).toBeGreaterThan(190);
    // 30 % of 400 slots are for recent tokens: all but the floors.
    expect(slots[2][0]).toBeGreaterThan(80);
    expect(sum(slots.flat())).toBe(400);
  });

  it('are the same for all groups where the sequence fits', () => {
    expect(routesOf(anyTable(shape, 3), shape, 50, { length: 50 }).slots).toEqual([[50, 50], [], [50, 50]]);
  });

  it('round the keys of groups that read the past, and of a table that says how', () => {
    const table = anyTable(shape, 5);
    const { retrieval, roundings } = routesOf(table, shape, 20, { length: 90 });
    expect(retrieval.flat()).toContain(0);
    for (const [l, groups] of retrieval.entries())
      for (const [g, reads] of groups.entries())
        expect(roundings![l][g]).toBe(reads === 1 ? table.layers[l]![g].rounding : null);
    const layers = table.layers.map((groups) => groups?.map(({ rounding: _, ...rest }) => rest) ?? null);
    const without = { ...table, layers };
    expect(routesOf(without, shape, 20, { length: 90 })).toEqual({
      ...routesOf(table, shape, 20, { length: 90 }),
      roundings: undefined,
    });
  });

  it('refuse tables of other models, and numbers out of range', () => {
    const other = fakeShape({ windows: [null], groups: 2, heads: 2, headSize: 4 });
    expect(() => routesOf(anyTable(other, 1), shape, 10)).toThrow(/other layers or groups/);
    expect(() => routesOf({ version: 2 }, shape, 10)).toThrow(/no calibration table/);
    expect(() => routesOf({ ...anyTable(shape, 1), version: 3 }, shape, 10)).toThrow(/version must be 2, but is 3/);
    for (const options of [{ beta: 2 }, { floor: 0 }, { length: 0.5 }, { threshold: -1 }])
      expect(() => routesOf(anyTable(shape, 1), shape, 10, options), JSON.stringify(options)).toThrow(InputError);
  });
});

describe('routed', () => {
  const table = anyTable(shape, 5);
  const open = (options: object) => createCache(shape, { policy: 'routed', cacheLength: 20, ...options });

  it('keeps its distribution in place of the table, and makes the same cache of it', () => {
    const cache = open({ table, length: 90 });
    const { routes, ...rest } = cache.options as CacheOptions & { routes: Routes };
    expect(rest).toEqual({ cacheLength: 20 });
    expect(routes).toEqual(routesOf(table, shape, 20, { length: 90 }));
    expect(open({ routes }).fits(cache)).toBe(true);
    expect([...cache.store.tables.values()].map(({ budgets }) => budgets)).toEqual([
      routes.slots[0],
      [5, 5], // the window's
      routes.slots[2],
    ]);
  });

  it('needs a table, which fits the model, and policies that decide group by group', () => {
    expect(() => open({})).toThrow(/needs a calibration of the model: await model.calibrate\(\)/);
    expect(() => open({ routes: { slots: [[20, 21], [], [20, 20]], retrieval: [[0, 0], [], [0, 0]] } })).toThrow(
      /routes have 81 slots, but a cacheLength of 20 gives 4 groups 80/,
    );
    const { feedback } = anyRoundings(shape.layers[0], 1)[0];
    for (const rounding of [{}, 'x', { feedback: 1 }, { feedback: 'AAAA' }, { feedback: `!${feedback.slice(1)}` }]) {
      const roundings = [[rounding as KeyRounding, null], [], [null, null]];
      expect(() => open({ routes: { ...routesOf(table, shape, 20), roundings } }), JSON.stringify(rounding)).toThrow(
        /the calibration is not of keys of 4 numbers: calibrate anew/,
      );
      const layers = table.layers.map((groups) => groups?.map((group) => ({ ...group, rounding })) ?? null);
      expect(() => open({ table: { ...table, layers } }), JSON.stringify(rounding)).toThrow(InputError);
    }
    expect(() => open({ table, routes: { slots: [], retrieval: [] } })).toThrow(/a table or routes, not both/);
    for (const policy of ['routed(expected, h2o)', 'routed(h2o, dense)', 'routed(pyramid, h2o)', 'routed(routed, h2o)'])
      expect(() => open({ policy, table }), policy).toThrow(/can't decide about single groups/);
    expect(() => open({ policy: 'routed(h2o)', table })).toThrow(/takes two policies/);
    expect(() => open({ policy: 'routed(h2o, lastrc)', table })).toThrow(/did you mean lastrec/);
  });
});
