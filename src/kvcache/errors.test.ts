import { describe, expect, it } from 'vitest';
import { tokensFrom } from '../../test/support/cache-runs.ts';
import { anyTable } from '../../test/support/calibration.ts';
import { fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../test/support/fake-model.ts';
import { CacheFullError, GraphError, InputError } from '../util/errors.ts';
import type { KVCache } from './kv-cache.ts';
import { type AnyCacheOptions, createCache, POLICIES } from './policies.ts';
import { definePolicy } from './policy/define-policy.ts';
import type { PolicyEntry } from './policy/policy.ts';
import { restoreCache, snapshotCache } from './snapshot.ts';

const shape = fakeShape({ windows: [null, 8], groups: 2, heads: 2, headSize: 5 });
const open = (options: Partial<AnyCacheOptions>) => createCache(shape, { cacheLength: 16, ...options });
const feed = (cache: KVCache, count: number) =>
  fakeStep(new FakeModel(shape, 1), cache, [tokensFrom(0, cache.length(), count)]);

describe('a copy of an included policy, as a second copy of the library has it', () => {
  it.each(['h2o', 'keydiff', 'lastrec', 'mix(h2o, knorm)'])('%s is that policy', async (name) => {
    const included = open({ policy: name });
    const copied = open({ policy: { ...included.policyEntry } });
    for (const cache of [included, copied]) for (const count of [20, 3, 1]) feed(cache, count);
    for (const layer of [0, 1])
      for (const group of [0, 1])
        expect(copied.tokenPositions(layer, 0, group)).toEqual(included.tokenPositions(layer, 0, group));
    const restored = await restoreCache(await snapshotCache(copied, 'm'), shape, 'm');
    expect(restored.policy).toBe(name);
  });
});

describe('options that can not be', () => {
  const refused: [Partial<AnyCacheOptions>, RegExp][] = [
    [
      { policy: 'lru' },
      /there is no cache policy "lru"; there are dense, lastrec, h2o, .*, and ada\(…\) and mix\(…, …\) around those with scores/,
    ],
    [{ policy: 'toString' }, /there is no cache policy "toString"/],
    [{ policy: 7 as never }, /policy must be the name of a cache policy, or one made by definePolicy .*, but is 7/],
    [{ policy: null as never }, /but is null/],
    [{ policy: { name: 'mine' } as never }, /made by definePolicy .*, but is an object/],
    [
      { policy: definePolicy({ name: 'h2o', score: () => undefined }) },
      /a policy of your own has the name h2o of an included policy: give definePolicy another name/,
    ],
    [{ policy: '' }, /there is no cache policy ""/],
    [{ policy: 'ada(lru)' }, /there is no cache policy "lru"/],
    [{ policy: 'ada(dense)' }, /ada\(dense\): the policy dense has no scores/],
    [{ policy: 'ada(lastrec)' }, /ada\(lastrec\): the policy lastrec has no scores/],
    [{ policy: 'ada(ada(h2o))' }, /ada\(…\) goes around the whole/],
    [{ policy: 'mix(h2o, lastrec)' }, /mix\(h2o, lastrec\): the policy lastrec has no scores that could be mixed/],
    [{ policy: 'mix(h2o, tova)' }, /the policy tova has no scores of each group/],
    [{ policy: 'mix(h2o)' }, /mix takes at least two policies/],
    [{ policy: 'mix(h2o, lru)' }, /there is no cache policy "lru"/],
    [{ policy: 'mix(h2o, knorm)', window: 3 }, /mix\(h2o, knorm\) has no option window/],
    [{ policy: 'ada(tova)' }, /decides for all groups of a layer at once/],
    [{ policy: 'h2o', ada: { floor: 1.5 } }, /floor must be from 0 to 1, but is 1.5/],
    [{ policy: 'h2o', ada: { floor: Number.NaN } }, /floor must be from 0 to 1, but is NaN/],
    [
      { policy: 'dense', buffer: 'int3' as 'int4' },
      /there is no cache buffer "int3"; there are float32, float16, int8, int5, int4/,
    ],
    [{ buffer: 'int4' }, /int4 needs an even head size, but this model's is 5/],
    [{ policy: 'qh2o' }, /qh2o weighs the error of quantized slots: choose a buffer such as int8/],
    [{ policy: 'qh2o', buffer: 'float32' }, /qh2o weighs the error of quantized slots/],
    [{ policy: 'qh2o', buffer: 'int8', c: -0.1 }, /c must be from 0 to 1, but is -0.1/],
    [{ policy: 'qh2o', buffer: 'int8', c: Number.NaN }, /c must be from 0 to 1, but is NaN/],
    [{ policy: 'snapkv', window: 13 }, /4 sinks and a window of 13 are more than the cacheLength of 16/],
    [{ policy: 'snapkv', window: 0 }, /window must be a whole number of at least 1, but is 0/],
    [{ policy: 'snapkv', kernel: 4 }, /kernel must be odd, but is 4/],
    [{ policy: 'snapkv', kernel: 0 }, /kernel must be a whole number/],
    [{ policy: 'pyramid', beta: 0.5 }, /beta must be at least 1, but is 0.5/],
    [{ policy: 'pyramid', beta: Number.POSITIVE_INFINITY }, /beta must be at least 1/],
    [{ policy: 'lastrec', sinks: 16 }, /16 sinks leave no slot for recent tokens in a cacheLength of 16/],
    [{ policy: 'h2o', sinks: 8, recent: 9 }, /8 sinks and 9 recent tokens are more than the cacheLength of 16/],
    [{ policy: 'h2o', sinks: 17 }, /17 sinks leave no slot/],
    [{ policy: 'h2o', sinks: -1 }, /sinks must be a whole number of at least 0, but is -1/],
    [{ policy: 'knorm', recent: 1.5 }, /recent must be a whole number of at least 1, but is 1.5/],
    [{ cacheLength: 0 }, /cacheLength must be a whole number of at least 1, but is 0/],
    [{ cacheLength: Number.NaN }, /cacheLength must be a whole number of at least 1, but is NaN/],
    [{ batch: 2 ** 31 }, /batch must be a whole number from 1 to 4096, but is 2147483648/],
    [{ batch: 0 }, /batch must be a whole number from 1 to 4096/],
    [{ cacheLength: 2 ** 60 }, /cacheLength must be a whole number/],
    [{ policy: 'lastrec', recent: 3 }, /the cache policy lastrec has no option recent; there are batch, .*sinks/],
    [{ policy: 'h2o', recnt: 3 } as object, /h2o has no option recnt; did you mean recent\?/],
    [{ policy: 'dense', sinks: 3 }, /the cache policy dense has no option sinks/],
  ];

  it.each(refused)('%j', (options, message) => {
    expect(() => open(options)).toThrow(InputError);
    expect(() => open(options)).toThrow(message);
  });

  it('sinks and recent tokens may fill the budget exactly', () => {
    const cache = open({ policy: 'h2o', sinks: 7, recent: 9 });
    feed(cache, 40);
    expect(cache.tokenPositions(0)).toEqual([0, 1, 2, 3, 4, 5, 6, 31, 32, 33, 34, 35, 36, 37, 38, 39]);
  });

  it('every policy of the table says its name', () => {
    for (const { name } of Object.values(POLICIES)) {
      const table = name === 'routed' ? { table: anyTable(shape, 1) } : {};
      expect(open({ policy: name, buffer: name === 'qh2o' ? 'int8' : 'float32', ...table }).policy).toBe(name);
    }
  });
});

describe('a full dense cache', () => {
  it('says how much there is, and what to do', () => {
    const cache = open({ policy: 'dense' });
    feed(cache, 15);
    expect(() => cache.reserve([2])).toThrow(CacheFullError);
    expect(() => cache.reserve([2])).toThrow(
      "the dense cache holds 15 of 16 tokens and can't take 2 more; give it a larger cacheLength, shorten the prompt, or choose a policy that evicts (such as lastrec)",
    );
    cache.reserve([1]);
  });
});

describe('a policy outside of the frame that keeps too much', () => {
  const greedy: PolicyEntry = {
    name: 'greedy',
    summary: '',
    options: {},
    create: (setup) => ({ ...POLICIES['h2o'].create(setup), needs: [], observe: undefined, select: () => {} }),
  };

  it('is stopped before memory is overwritten', () => {
    const cache = createCache(shape, { policy: greedy, cacheLength: 4 });
    feed(cache, 4);
    expect(() => feed(cache, 1)).toThrow(GraphError);
    expect(() => feed(cache, 1)).toThrow(/the policy greedy leaves more than the budget of 4 slots/);
    expect(cache.tokenPositions(0)).toEqual([0, 1, 2, 3]);
    expect(cache.length()).toBe(4);
  });
});
