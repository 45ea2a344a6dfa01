import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  ALL_BUFFERS,
  anyRun,
  check,
  checkCache,
  contentOf,
  EVICTING,
  expectSame,
  openRun,
  optionsFor,
  stepTokens,
  tokensFrom,
} from '../../test/support/cache-runs.ts';
import { fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../test/support/fake-model.ts';
import { feedCache, makeCache, SAVED_CACHES, SAVED_SHAPE, type SavedCache } from '../../test/support/saved-caches.ts';
import { CacheBusyError, InputError, PolicyError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import { blockCodec } from './buffers/blocks.ts';
import type { KVCache } from './kv-cache.ts';
import { checkCacheOptions, createCache } from './policies.ts';
import { definePolicy } from './policy/define-policy.ts';
import type { CacheStep } from './rows/events.ts';
import { restoreCache, rowArrays, snapshotCache } from './snapshot.ts';

const shape = fakeShape({ windows: [null, 6], groups: 2, heads: 2, headSize: 4 });
const model = new FakeModel(shape, 3);
const open = (options: object = {}) => createCache(shape, { policy: 'h2o', cacheLength: 8, ...options });
const feed = (cache: KVCache, count: number) => fakeStep(model, cache, [tokensFrom(0, cache.length(), count)]);

describe('a cache in use', () => {
  it('is changed with the lease only', () => {
    const cache = open();
    feed(cache, 5);
    const before = contentOf(cache);
    const lease = cache.acquire('a conversation');
    expect(cache.user).toBe('a conversation');
    const other = open().acquire();
    for (const change of [
      () => cache.acquire('another'),
      () => feed(cache, 1),
      () => cache.truncate(0),
      () => cache.truncate(0, 0, other),
      () => cache.clear(),
      () => cache.clearRow(0),
      () => cache.setBatch(2),
      () => cache.rebase(),
      () => cache.setPending(0, [1]),
      () => cache.copyRow(open(), 0, 0),
    ]) {
      expect(change).toThrow(CacheBusyError);
      expect(change).toThrow(/the cache is in use by a conversation/);
    }
    expectSame(contentOf(cache), before);
    // To read and to fork is free.
    const twin = cache.fork();
    feed(twin, 1);
    expect(cache.tokenPositions(0)).toEqual(range(5));
    cache.setPending(0, [7], lease);
    cache.truncate(0, 0, lease);
    expect(cache.length()).toBe(0);
    lease.release();
    lease.release();
    feed(cache, 2);
    const next = cache.acquire();
    lease.release();
    expect(cache.user).toBe('a run');
    next.release();
    expect(cache.user).toBeNull();
  });
});

describe('pending tokens', () => {
  it('are not counted, and begin the next chunk', () => {
    const cache = open();
    feed(cache, 3);
    cache.setPending(0, [5, 9]);
    expect([cache.length(), cache.pending()]).toEqual([3, [5, 9]]);
    const before = contentOf(cache);
    for (const wrong of [[4], [5], [5, 8, 1]])
      expect(() => fakeStep(model, cache, [wrong])).toThrow(/pending tokens \(5, 9\).*must begin with them/);
    expectSame(contentOf(cache), before);
    expect(cache.fork().pending()).toEqual([5, 9]);
    fakeStep(model, cache, [[5, 9, 1]]);
    expect([cache.length(), cache.pending()]).toEqual([6, []]);
    cache.setPending(0, [2]);
    cache.truncate(6);
    expect(cache.pending()).toEqual([]);
  });

  it('are saved, and copied with their row', async () => {
    const cache = open();
    feed(cache, 3);
    cache.setPending(0, [5]);
    const again = await restoreCache(await snapshotCache(cache, 'm'), shape, 'm');
    expect(again.pending()).toEqual([5]);
    const two = open({ batch: 2 });
    two.copyRow(cache, 0, 1);
    expect([two.pending(0), two.pending(1)]).toEqual([[], [5]]);
  });
});

describe('step events', () => {
  it('tell what was written and evicted, so that they add up to what is held', () => {
    check(
      fc.property(anyRun({ rows: 2, steps: 8 }), fc.constantFrom(...EVICTING), (run, policy) => {
        const { model: fake, cache } = openRun(run, policy);
        const held = new Map<string, Set<number>>();
        const apply = ({ row, layers, groups }: CacheStep) => {
          for (const layer of layers)
            groups.forEach(({ written, evicted, held: count }, group) => {
              const name = `${layer}/${row}/${group}`;
              const positions = held.get(name) ?? new Set();
              for (const position of evicted) positions.delete(position);
              for (const position of written) positions.add(position);
              if (positions.size !== count) expect.fail(`${name}: ${positions.size} positions, but ${count} slots`);
              held.set(name, positions);
            });
        };
        const end = cache.on('step', apply);
        for (const step of run.steps) fakeStep(fake, cache, stepTokens(cache, step), step);
        for (const [name, positions] of held) {
          const [layer, row, group] = name.split('/').map(Number);
          expectSame(
            [...positions].sort((a, b) => a - b),
            cache.tokenPositions(layer, row, group),
          );
        }
        end();
        const size = held.size;
        held.clear();
        fakeStep(
          fake,
          cache,
          range(run.rows).map((row) => tokensFrom(row, cache.length(row), 1)),
        );
        expect([size > 0, held.size]).toEqual([true, 0]);
      }),
      40,
    );
  });

  it('refuses other events', () => {
    expect(() => open().on('evict' as 'step', () => {})).toThrow(/no event "evict"/);
  });
});

describe('the memory of a cache', () => {
  it('is made once for tokens that are known to come, whatever their number', () => {
    const layers = fakeShape({ windows: [null, null], groups: 2, heads: 2, headSize: 4 });
    const known = new FakeModel(layers, 3);
    for (const length of [150, 192, 201]) {
      const cache = createCache(layers, { policy: 'dense', cacheLength: length + 1 });
      cache.reserve([length]);
      const memories = new Set<unknown>();
      for (const count of [64, 64, length - 128]) {
        fakeStep(known, cache, [tokensFrom(0, cache.length(), count)]);
        for (const { keys, values } of cache.store.buffers.flatMap((buffer) => buffer ?? []))
          for (const half of [keys, values]) for (const { array } of half.arrays) memories.add(array.data.buffer);
      }
      expect(memories.size).toBe(2 * layers.layers.length);
    }
  });
});

describe('layers of different sizes', () => {
  const mixed = fakeShape({
    windows: [null, null, 5, null],
    groups: 2,
    heads: 2,
    headSize: 4,
    sizes: [{}, { groups: 3, heads: 1, keySize: 6, valueSize: 2 }, { groups: 1 }, { keySize: 8, valueSize: 10 }],
  });
  const others = EVICTING.map((policy) => [policy.name, policy] as const);

  it.each(others)('%s: each slot has the key and value of its layer', (_, policy) => {
    for (const buffer of ALL_BUFFERS)
      for (const blocks of [null, blockCodec]) {
        if (policy.lossy && buffer === 'float32') continue;
        const own = { ...mixed, memory: { blocks } };
        const fake = new FakeModel(own, 11);
        const cache = createCache(own, { cacheLength: 7, buffer, ...optionsFor(policy, own) });
        const twin = createCache(own, { cacheLength: 7, buffer, ...optionsFor(policy, own) });
        for (const count of [4, 9, 1, 1, 3]) {
          for (const one of [cache, twin]) fakeStep(fake, one, [tokensFrom(0, one.length(), count)]);
          checkCache(fake, cache);
          const before = cache.length();
          fakeStep(fake, cache, [tokensFrom(0, before, 5)]);
          cache.truncate(before);
          expectSame(contentOf(cache), contentOf(twin));
        }
        expect(cache.stats().evicted[0]).toBeGreaterThan(0);
      }
  });

  it('are counted each by itself', () => {
    const cache = createCache(mixed, { cacheLength: 10 });
    // Floats of keys and values, groups, slots: a window of 5 needs 4.
    const floats = 8 * 2 * 10 + 8 * 3 * 10 + 8 * 4 + 18 * 2 * 10;
    expect(cache.memory().keysAndValuesLimit).toBe(4 * floats);
  });
});

describe('what a policy is given', () => {
  it('reads keys and values by functions that may be taken apart, into arrays of the right size', () => {
    const seen: Record<string, number>[] = [];
    const policy = definePolicy({
      name: 'reader',
      score: ({ readKey, readValue, readExactKey, held, length }, { layer, headSize, keySize, valueSize }) => {
        const [key, value, exact] = [
          new Float32Array(keySize),
          new Float32Array(valueSize),
          new Float32Array(headSize),
        ];
        readKey(length - 1, key);
        readValue(0, value);
        readExactKey(held, exact);
        seen.push({ layer, key: key[0], exact: exact[0] });
        return undefined;
      },
    });
    feed(open({ policy }), 1);
    expect(seen.map(({ layer }) => layer)).toEqual([0, 0, 1, 1]);
    for (const { key, exact } of seen) expect(key).toBe(exact);
  });

  it.each([
    ['a key of layer 0 has 4 numbers, but the array has 3', 0, 3],
    ['there is no candidate 9: they go from 0 to 1', 9, 4],
  ])('an error in a policy names it: %s', (message, index, size) => {
    const policy = definePolicy({
      name: 'wrong',
      score: ({ readKey }) => {
        readKey(index, new Float32Array(size));
        return undefined;
      },
    });
    const cache = open({ policy });
    expect(() => feed(cache, 2)).toThrow(PolicyError);
    expect(() => feed(cache, 2)).toThrow(`the cache policy wrong failed in score (layer 0, row 0): ${message}`);
    expect(cache.length()).toBe(0);
  });

  it.each([2, -1, 0.5])('refuses candidate %s where it reads several keys at once', (index) => {
    const policy = definePolicy({
      name: 'wrong',
      score: ({ readStoredKeys }) => {
        readStoredKeys([0, index], new Float32Array(8));
        return undefined;
      },
    });
    expect(() => feed(open({ policy }), 2)).toThrow(`there is no candidate ${index}: they go from 0 to 1`);
  });

  it('has options of its own, which are declared', () => {
    const policy = definePolicy<{ fade?: number }>({
      name: 'fading',
      options: { fade: 'how fast' },
      setup: ({ options: { fade = 0.5 } }) => ({
        needs: ['sums'],
        score: ({ scores, weights: [sums], length }) => {
          for (let j = 0; j < length; j++) scores[j] = fade * scores[j] + sums[j];
          return undefined;
        },
      }),
    });
    const [slow, fast] = [0.9, 0.1].map((fade) => open({ policy, policyOptions: { fade } }));
    for (const cache of [slow, fast]) for (const count of [6, 1]) feed(cache, count);
    expect(slow.scores(0)![0]).toBeGreaterThan(fast.scores(0)![0]);
    expect(() => open({ policy, policyOptions: { fad: 1 } })).toThrow(/fading has no option fad; did you mean fade\?/);
    expect(() => checkCacheOptions({ policy, policyOptions: { fad: 1 } })).toThrow(InputError);
    expect(() => definePolicy({ name: 'x', score: () => undefined, columns: 2 } as object as never)).toThrow(
      /the policy x has no field columns/,
    );
  });

  it('may give each group a budget of its own', () => {
    const ragged = definePolicy({
      name: 'ragged',
      budget: (layer, group) =>
        [
          [2, 6],
          [3, 5],
        ][layer][group],
      score: ({ positions, length }) => range(length).map((j) => positions[j]),
    });
    const cache = open({ policy: ragged });
    for (const count of [3, 9, 1]) feed(cache, count);
    expect([0, 1].map((g) => cache.tokenPositions(0, 0, g).length)).toEqual([2, 6]);
    expect([0, 1].map((g) => cache.tokenPositions(1, 0, g).length)).toEqual([3, 5]);
  });
});

describe('a saved cache', () => {
  it('is read by an engine with another layout of quantized slots', async () => {
    const plain = { float32: 0, float16: 0, 'int8-plain': 2 / 127, 'int4-plain': 2 / 7 };
    // Of a rotated vector the largest number is at most √2 times that of the plain one here.
    const tolerance = { ...plain, int8: 4 / 127, int5: 4 / 15, int4: 4 / 7 };
    for (const buffer of ALL_BUFFERS)
      for (const blocks of [null, blockCodec]) {
        const [here, there] = [blocks, blocks ? null : blockCodec].map((own) => ({
          ...shape,
          memory: { blocks: own },
        }));
        const cache = createCache(here, { policy: 'h2o', cacheLength: 8, buffer });
        for (const count of [5, 6, 1]) fakeStep(new FakeModel(here, 3), cache, [tokensFrom(0, cache.length(), count)]);
        const again = await restoreCache(await snapshotCache(cache, 'm'), there, 'm');
        expect(again.shape).toBe(there);
        for (const l of [0, 1])
          for (const g of [0, 1]) {
            const positions = cache.tokenPositions(l, 0, g);
            expect(again.tokenPositions(l, 0, g)).toEqual(positions);
            expect(again.scores(l, 0, g)).toEqual(cache.scores(l, 0, g));
            for (const position of positions)
              for (const half of ['key', 'value'] as const) {
                const exact = cache.slot(l, position, 0, g)![half];
                const size = Math.max(...exact.map(Math.abs));
                again.slot(l, position, 0, g)![half].forEach((x, i) => {
                  expect(Math.abs(x - exact[i])).toBeLessThanOrEqual(tolerance[buffer] * size);
                });
              }
          }
        fakeStep(new FakeModel(there, 3), again, [tokensFrom(0, again.length(), 2)]);
        expect(again.length()).toBe(14);
      }
  });

  it('of the first format has int8 and int4 slots without a rotation', async () => {
    for (const [was, is] of [
      ['int4', 'int4-plain'],
      [
        { keys: 'int8', values: 'int4' },
        { keys: 'int8-plain', values: 'int4-plain' },
      ],
    ] as const) {
      const cache = createCache(shape, { policy: 'h2o', cacheLength: 8, buffer: is });
      feed(cache, 6);
      const again = await restoreCache(await asOldFormat(cache, 1, was), shape, 'm');
      expect(again.buffer).toEqual(is);
      expect(contentOf(again)).toEqual(contentOf(cache));
      // The file that is written from now on says so by itself.
      const third = await restoreCache(await snapshotCache(again, 'm'), shape, 'm');
      expect(third.buffer).toEqual(is);
    }
  });

  it('of the second format has rope positions and masks of all slots', async () => {
    const cache = createCache(shape, { policy: 'h2o', cacheLength: 8, buffer: 'int8' });
    for (const count of [6, 5]) feed(cache, count);
    const again = await restoreCache(await asOldFormat(cache, 2, 'int8'), shape, 'm');
    expect(contentOf(again)).toEqual(contentOf(cache));
    expect(again.memory().bookkeeping).toBeLessThanOrEqual(cache.memory().bookkeeping);
  });

  it.each(Object.keys(SAVED_CACHES) as SavedCache[])('of the third format goes on: %s', async (name) => {
    const path = join(import.meta.dirname, '../../test/fixtures/snapshots/3', name);
    const [again, cache] = [await restoreCache(await readFile(path), SAVED_SHAPE, 'model'), makeCache(name)];
    for (const count of [1, 5, 1, 1, 1, 0]) {
      expect(again.ropePosition()).toBe(cache.ropePosition());
      for (const l of [0, 1])
        for (const g of [0, 1]) {
          expect(again.tokenPositions(l, 0, g)).toEqual(cache.tokenPositions(l, 0, g));
          // Sums of keys and of queries were made in another order.
          const scores = cache.scores(l, 0, g);
          again.scores(l, 0, g)?.forEach((score, i) => {
            expect(score).toBeCloseTo(scores![i], 5);
          });
        }
      if (count > 0) for (const each of [again, cache]) feedCache(each, count);
    }
  });
});

/**
 * A snapshot as older formats have it: rope positions and masks of all slots, and in the first one other names of
 * buffers.
 */
async function asOldFormat(cache: KVCache, version: number, buffer: unknown): Promise<Uint8Array> {
  const padded = (length: number) => Math.ceil(length / 8) * 8;
  const twin = cache.fork();
  for (const table of twin.store.tables.values()) table.keepRopePositions();
  const bytes = await snapshotCache(twin, 'm');
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(12, true);
  const { turned: _, ...header } = JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + length)));
  header.options.buffer = buffer;
  const text = new TextEncoder().encode(JSON.stringify(header));
  const arrays = [Int32Array.from(twin.tokens()), ...rowArrays(twin, 0, version)];
  const size = arrays.reduce((sum, array) => sum + padded(array.byteLength), 16 + padded(text.length));
  const out = new Uint8Array(size + 32);
  out.set(bytes.subarray(0, 16));
  new DataView(out.buffer).setUint32(8, version, true);
  new DataView(out.buffer).setUint32(12, text.length, true);
  out.set(text, 16);
  let at = 16 + padded(text.length);
  for (const array of arrays) {
    out.set(new Uint8Array(array.buffer, array.byteOffset, array.byteLength), at);
    at += padded(array.byteLength);
  }
  out.set(new Uint8Array(await crypto.subtle.digest('SHA-256', out.subarray(0, size))), size);
  return out;
}
