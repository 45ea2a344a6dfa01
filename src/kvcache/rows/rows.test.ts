import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_BUFFERS,
  anyRun,
  cacheOptions,
  check,
  checkCache,
  contentOf,
  EVICTING,
  expectSame,
  openRun,
  stepTokens,
  tokensFrom,
} from '../../../test/support/cache-runs.ts';
import { fakeStep } from '../../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../../test/support/fake-model.ts';
import { InputError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { KVCache } from '../kv-cache.ts';
import { createCache } from '../policies.ts';

const runs = anyRun({ rows: 3, buffers: ALL_BUFFERS, steps: 6 });
const anyPolicy = fc.constantFrom(...EVICTING);
const rowOf = (cache: KVCache, row: number): unknown => contentOf(cache)[row];

describe('rows of a cache', () => {
  it('come and go: the others stay as they are, and a new one is empty', () => {
    check(
      fc.property(runs, anyPolicy, (run, policy) => {
        const { model, cache } = openRun(run, policy);
        for (const step of run.steps) fakeStep(model, cache, stepTokens(cache, step), step);
        const before = contentOf(cache);
        const empty = rowOf(cache.recreate(), 0);
        cache.setBatch(run.rows + 2);
        expectSame(contentOf(cache), [...before, empty, empty]);
        checkCache(model, cache);
        cache.clearRow(0);
        expectSame(contentOf(cache), [empty, ...before.slice(1), empty, empty]);
        // A row that was cleared is as good as new.
        const fresh = createCache(model.shape, cacheOptions(run, policy, { batch: 1 }));
        for (const one of [cache, fresh])
          fakeStep(model, one, [tokensFrom(0, 0, 9), ...range(one.batch - 1).map(() => [])], { phase: 'prompt-end' });
        expectSame(rowOf(cache, 0), rowOf(fresh, 0));
        checkCache(model, cache);
        cache.setBatch(1);
        expectSame(contentOf(cache), [rowOf(fresh, 0)]);
        expect(cache.stats().seen).toEqual([9]);
        // The last chunk can't be taken back any more.
        if (cache.rules.scoredByLater) expect(() => cache.truncate(0)).toThrow(InputError);
      }),
      80,
    );
  });

  it('are taken over from another cache, or from the same, and go on by themselves', () => {
    check(
      fc.property(runs, anyPolicy, fc.nat(2), fc.nat(2), (run, policy, from, to) => {
        const { model, cache } = openRun({ ...run, rows: 3 }, policy);
        const steps = run.steps.map(({ lengths, phase }) => ({
          lengths: range(3).map((row) => lengths[row] ?? 2),
          phase,
        }));
        for (const step of steps) fakeStep(model, cache, stepTokens(cache, step), step);
        const before = contentOf(cache);
        const target = createCache(model.shape, cacheOptions({ ...run, rows: 3 }, policy));
        fakeStep(model, target, [tokensFrom(0, 0, 11), tokensFrom(1, 0, 2), []], { phase: 'decode' });
        for (const one of [target, cache]) {
          const others = contentOf(one);
          one.copyRow(cache, from, to);
          expectSame(
            contentOf(one),
            range(3).map((row) => (row === to ? before[from] : others[row])),
          );
          checkCache(model, one);
        }
        // Both go on, apart from each other.
        const tokens = tokensFrom(from, cache.length(from), 4);
        const chunk = (row: number) => range(3).map((r) => (r === row ? tokens : []));
        fakeStep(model, target, chunk(to));
        expectSame(rowOf(cache, from), before[from]);
        fakeStep(model, cache, chunk(from));
        expectSame(rowOf(target, to), rowOf(cache, from));
      }),
      80,
    );
  });

  const shape = fakeShape({ windows: [null], groups: 2, heads: 1, headSize: 4 });

  it('are taken over only where policy, options and model are the same', () => {
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 8 });
    const other = { ...shape };
    const refused = [
      createCache(shape, { policy: 'tova', cacheLength: 8 }),
      createCache(shape, { policy: 'h2o', cacheLength: 8, buffer: 'int8' }),
      createCache(shape, { policy: 'h2o', cacheLength: 9 }),
      createCache(shape, { policy: 'ada(h2o)', cacheLength: 8 }),
      createCache(shape, { policy: 'h2o', cacheLength: 8, normalize: false }),
      createCache(other, { policy: 'h2o', cacheLength: 8 }),
    ];
    for (const source of refused) expect(() => cache.copyRow(source, 0, 0)).toThrow(InputError);
    cache.copyRow(createCache(shape, { policy: 'h2o', cacheLength: 8, batch: 3 }, 2), 2, 0);
    expect(cache.length()).toBe(0);
  });

  it('are named by whole numbers that there are', () => {
    const cache = createCache(shape, { cacheLength: 8 });
    for (const batch of [0, -1, 1.5]) {
      expect(() => cache.setBatch(batch)).toThrow(InputError);
      expect(() => createCache(shape, { cacheLength: 8, batch })).toThrow(InputError);
    }
  });

  it('all go when a cache is cleared, and so does their memory', () => {
    check(
      fc.property(runs, anyPolicy, (run, policy) => {
        const { model, cache } = openRun(run, policy);
        const [small, blank] = [cache.memory().total, contentOf(cache)];
        for (const step of run.steps) fakeStep(model, cache, stepTokens(cache, step), step);
        const first = contentOf(cache);
        cache.clear();
        expectSame(contentOf(cache), blank);
        expect(cache.memory().total).toBe(small);
        for (const step of run.steps) fakeStep(model, cache, stepTokens(cache, step), step);
        expectSame(contentOf(cache), first);
      }),
      60,
    );
  });
});

describe('memory', () => {
  it('is what the buffers allocate; forks share it until they write', () => {
    const cache = createCache(shape(), { policy: 'lastrec', cacheLength: 10, buffer: 'int8' }, 4);
    const model = new FakeModel(shape(), 1);
    // Two groups, 2·D bytes and two scales a slot.
    const slot = 2 * (2 * 6 + 2 * 4);
    expect(cache.memory()).toMatchObject({ keysAndValues: 0, keysAndValuesLimit: 10 * slot });
    for (const [count, slots] of [
      [3, 4],
      [2, 8],
      [4, 10],
      [30, 10],
    ]) {
      fakeStep(model, cache, [tokensFrom(0, cache.length(), count)]);
      expect(cache.memory().keysAndValues).toBe(slots * slot);
    }
    const twin = cache.fork();
    expect(twin.store.buffers[0]!.inputs[0].array.data).toBe(cache.store.buffers[0]!.inputs[0].array.data);
    fakeStep(model, twin, [tokensFrom(0, twin.length(), 1)]);
    expect(twin.store.buffers[0]!.inputs[0].array.data).not.toBe(cache.store.buffers[0]!.inputs[0].array.data);
  });

  function shape() {
    return fakeShape({ windows: [null], groups: 2, heads: 1, headSize: 6 });
  }
});

describe('what a slot held', () => {
  it('is gone from its memory when it is free, so that results follow from what is held alone', () => {
    check(
      fc.property(runs, anyPolicy, (run, policy) => {
        const { model, cache } = openRun(run, policy);
        for (const step of run.steps) fakeStep(model, cache, stepTokens(cache, step), step);
        const length = cache.length(0);
        fakeStep(
          model,
          cache,
          range(run.rows).map((row) => tokensFrom(row, cache.length(row), 5)),
        );
        cache.truncate(length, 0);
        if (run.rows > 1) cache.clearRow(1);
        for (const table of cache.store.tables.values())
          for (const l of table.layers)
            for (const { array } of cache.store.buffers[l]!.inputs)
              for (const row of range(run.rows))
                for (const g of range(model.shape.nQueryGroups)) {
                  const filled = table.filled[table.groupIndex(row, table.groups === 1 ? 0 : g)];
                  const free = array.data.subarray(array.at(row, g, filled), array.at(row, g, array.capacityOf(g)));
                  if (free.some((x) => x !== 0))
                    expect.fail(`layer ${l}, row ${row}, group ${g}: slots from ${filled} on`);
                }
      }),
      80,
    );
  });
});
