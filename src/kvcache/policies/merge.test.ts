import { describe, expect, it } from 'vitest';
import { fakeStep } from '../../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../../test/support/fake-model.ts';
import { range } from '../../util/numbers.ts';
import type { KVCache } from '../kv-cache.ts';
import { type AnyCacheOptions, createCache } from '../policies.ts';
import { definePolicy } from '../policy/define-policy.ts';

const SHAPE = fakeShape({ windows: [null, null, 24], groups: 2, heads: 2, headSize: 32 });
const LENGTH = 40;

/** Reads a prompt in chunks, and then tokens one by one. */
function read(options: Partial<AnyCacheOptions> = {}, prompt = 96, single = 40): KVCache {
  const cache = createCache(SHAPE, { policy: 'merge', cacheLength: LENGTH, ...options });
  const model = new FakeModel(SHAPE, 7);
  for (let t = 0; t < prompt; t += 16)
    fakeStep(model, cache, [range(16).map((i) => (t + 5 * i) % 61)], {
      phase: t + 16 < prompt ? 'prompt' : 'prompt-end',
    });
  for (let t = 0; t < single; t++) fakeStep(model, cache, [[(7 * t) % 61]]);
  return cache;
}

/** How many tokens the slots of a group stand for. */
const tokensOf = (cache: KVCache, layer: number, group: number): number =>
  cache.scores(layer, 0, group)!.reduce((sum, logTokens) => sum + Math.exp(logTokens), 0);

describe('merge', () => {
  it.each(['float32', 'int4'] as const)('stands for all tokens within its budget (%s)', (buffer) => {
    const cache = read({ buffer }, 96, 0);
    for (const layer of [0, 1])
      for (const group of [0, 1]) {
        const positions = cache.tokenPositions(layer, 0, group);
        expect(positions.length).toBeLessThanOrEqual(LENGTH);
        // Logarithms are numbers of float16.
        expect(tokensOf(cache, layer, group) / 96).toBeCloseTo(1, 2);
        expect(positions).toEqual(expect.arrayContaining([0, 1, 2, 3, 95]));
        expect(Math.max(...cache.scores(layer, 0, group)!)).toBeGreaterThan(Math.log(3));
      }
  });

  it('drops what is not recent any more in decode, and keeps its clusters', () => {
    const [before, after] = [read({}, 96, 0), read({}, 96, 40)];
    const clusters = (cache: KVCache) => cache.scores(0, 0, 1)!.filter((logTokens) => logTokens > 0);
    expect(clusters(after).sort()).toEqual(clusters(before).sort());
    expect(tokensOf(after, 0, 1)).toBeCloseTo(tokensOf(before, 0, 1), 6);
    const recent = range(27).map((i) => 109 + i);
    expect(after.tokenPositions(0, 0, 1)).toEqual(expect.arrayContaining(recent));
  });

  it('keeps recent tokens in layers with a window, and where there are few slots', () => {
    expect(
      read()
        .tokenPositions(2, 0, 0)
        .sort((a, b) => a - b),
    ).toEqual(range(23).map((i) => 113 + i));
    const small = read({ cacheLength: 11 });
    expect(small.scores(0, 0, 0)!.every((logTokens) => logTokens === 0)).toBe(true);
  });

  it('is what it was when its last chunk is taken back', () => {
    const cache = read({}, 96, 0);
    const before = [0, 1].map((group) => [cache.tokenPositions(0, 0, group), cache.scores(0, 0, group)]);
    const model = new FakeModel(SHAPE, 7);
    const keys = () =>
      range(LENGTH - 8).map((slot) => {
        const key = new Float32Array(32);
        cache.store.buffers[0]!.readKey({ row: 0, group: 1, slot }, key);
        return [...key];
      });
    const held = keys();
    fakeStep(model, cache, [range(16)]);
    expect(keys()).not.toEqual(held);
    cache.truncate(96);
    expect([0, 1].map((group) => [cache.tokenPositions(0, 0, group), cache.scores(0, 0, group)])).toEqual(before);
    expect(keys()).toEqual(held);
  });

  it('goes on from a fork as it would have', () => {
    const [a, b] = [read(), read()];
    const fork = a.fork();
    const model = new FakeModel(SHAPE, 7);
    for (const cache of [fork, b]) fakeStep(model, cache, [range(16)]);
    expect(fork.scores(1, 0, 1)).toEqual(b.scores(1, 0, 1));
    expect(tokensOf(a, 1, 1) / 96).toBeCloseTo(1, 2);
  });

  it('takes a share of the slots', () => {
    const merged = (share: number) =>
      read({ share })
        .scores(0, 0, 0)!
        .filter((logTokens) => logTokens > 0).length;
    expect(merged(0.5)).toBeGreaterThan(merged(0.1));
    for (const share of [0, 1, Number.NaN])
      expect(() => createCache(SHAPE, { policy: 'merge', cacheLength: LENGTH, share })).toThrow(
        /share must be a number between 0 and 1/,
      );
  });

  it('is refused in mixtures', () => {
    expect(() => createCache(SHAPE, { policy: 'mix(h2o, merge)', cacheLength: LENGTH })).toThrow(
      /the policy merge has no scores/,
    );
  });
});

describe('the rule merge of a policy', () => {
  const oldest = {
    name: 'oldest',
    rank: ({ values, positions, length }: { values: Float64Array; positions: Float32Array; length: number }) => {
      for (let j = 0; j < length; j++) values[j] = positions[j];
    },
  };

  it.each(['float32', 'int8'] as const)('gets what goes, and writes to what stays, in %s', (buffer) => {
    const policy = definePolicy({
      ...oldest,
      slotStateType: 'float32',
      merge: (group, { keySize, valueSize }) =>
        group.merge(group.keep.indexOf(1), new Float32Array(keySize).fill(2), new Float32Array(valueSize).fill(3), 5),
    });
    const cache = createCache(SHAPE, { policy, cacheLength: 16, buffer });
    fakeStep(new FakeModel(SHAPE, 1), cache, [range(20)]);
    const slot = cache.scores(0, 0, 0)!.findIndex((logTokens) => logTokens > 0);
    const key = new Float32Array(32);
    cache.store.buffers[0]!.readKey({ row: 0, group: 0, slot }, key);
    for (const x of key) expect(x).toBeCloseTo(2, buffer === 'float32' ? 9 : 1);
    expect(cache.scores(0, 0, 0)![slot]).toBeCloseTo(Math.log(5), 2);
  });

  it('refuses what does not stay, other sizes, and less than one token', () => {
    const by = (...given: [number, number, number]) => {
      const policy = definePolicy({
        ...oldest,
        slotStateType: 'float32',
        merge: (group) => group.merge(given[0], new Float32Array(given[1]), new Float32Array(32), given[2]),
      });
      return () => fakeStep(new FakeModel(SHAPE, 1), createCache(SHAPE, { policy, cacheLength: 16 }), [range(20)]);
    };
    expect(by(0, 32, 2)).toThrow(/policy oldest failed in merge .*nothing can be merged into candidate 0/);
    expect(by(19, 31, 2)).toThrow(/a key of layer 0 has 32 numbers, but the array has 31/);
    expect(by(19, 32, 0)).toThrow(/a slot stands for at least one token, not 0/);
  });

  it('needs groups that decide for themselves, and numbers that attention can read', () => {
    const merge = () => {};
    expect(() => definePolicy({ ...oldest, merge })).toThrow(/slotStateType must be float32/);
    expect(() => definePolicy({ ...oldest, merge, slotStateType: 'float32', perGroup: false })).toThrow(
      /each group must decide for itself/,
    );
  });
});
