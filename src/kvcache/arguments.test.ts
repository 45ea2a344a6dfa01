/**
 * What caches say of arguments that are none of what they take.
 */
import { describe, expect, it } from 'vitest';
import { tokensFrom } from '../../test/support/cache-runs.ts';
import { fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../test/support/fake-model.ts';
import { refusals, refused, WRONG } from '../../test/support/refusals.ts';
import {
  AttnWeightsKVCache,
  bufferName,
  createCache,
  denseBytes,
  H2OKVCache,
  KVCache,
  POLICIES,
  resolveCacheBytes,
} from '../exports/policies.ts';

const shape = fakeShape({ windows: [null, 8], groups: 2, heads: 2, headSize: 4 });
const options = { cacheLength: 16 };
const open = (batch = 2) => createCache(shape, { ...options, batch, policy: 'h2o' });

describe('constructors of caches refuse', () => {
  it('what is no shape', async () => {
    const calls: ((value: never) => unknown)[] = [
      (value) => new KVCache(value, POLICIES['h2o'], options),
      (value) => new AttnWeightsKVCache(value, POLICIES['h2o'], options),
      (value) => new H2OKVCache(value, options),
      (value) => createCache(value, options),
      (value) => denseBytes(value, 16),
      (value) => resolveCacheBytes(value, { cacheBytes: '10%' }, 16),
    ];
    for (const call of calls)
      expect(await refusals(call)).toEqual(refused("a cache needs a model's shape, as { layers }"));
  });

  it('what is no policy', async () => {
    for (const Cache of [KVCache, AttnWeightsKVCache])
      expect(await refusals((entry) => new Cache(shape, entry, options))).toEqual(
        refused('a cache needs a policy, as POLICIES has them'),
      );
  });

  it('what are no options', async () => {
    const [unset, none, number] = WRONG;
    for (const [value, shown] of [unset, none, number])
      expect(await refusals((given) => new H2OKVCache(shape, given), [value])).toEqual([
        `the options of the cache policy h2o must be an object, but are ${shown}`,
      ]);
    expect(await refusals((given) => new H2OKVCache(shape, given), [{}])).toEqual([
      'cacheLength must be a whole number of at least 1, but is undefined',
    ]);
  });
});

describe('a row that there is not', () => {
  const calls: Record<string, (cache: KVCache, row: never) => unknown> = {
    length: (cache, row) => cache.length(row),
    ropePosition: (cache, row) => cache.ropePosition(row),
    rotatedFor: (cache, row) => cache.rotatedFor(row),
    tokens: (cache, row) => cache.tokens(row),
    pending: (cache, row) => cache.pending(row),
    headroom: (cache, row) => cache.headroom(row),
    tokenPositions: (cache, row) => cache.tokenPositions(0, row),
    scores: (cache, row) => cache.scores(0, row),
    contents: (cache, row) => cache.contents(row),
    slot: (cache, row) => cache.slot(0, 0, row),
    setPending: (cache, row) => cache.setPending(row, [1]),
    truncate: (cache, row) => cache.truncate(0, row),
    clearRow: (cache, row) => cache.clearRow(row),
    rebase: (cache, row) => cache.rebase(row),
    copyRow: (cache, row) => cache.copyRow(cache, row, 0),
  };

  it.each(Object.entries(calls))('%s', async (name, call) => {
    const needed = `${name} needs a row of the cache, from 0 to 1`;
    const wrong = [...WRONG.slice(1), [2, '2'] as const, [-1, '-1'] as const, [0.5, '0.5'] as const];
    const values = wrong.map(([value]) => value);
    expect(await refusals((row) => call(open(), row), values)).toEqual(refused(needed, wrong));
  });

  it('is none that a row is copied to, and the cache stays as it was', async () => {
    const cache = open();
    fakeStep(new FakeModel(shape, 1), cache, [tokensFrom(0, 0, 3), tokensFrom(1, 0, 2)]);
    const before = [cache.contents(0), cache.contents(1)];
    expect(await refusals((row) => cache.copyRow(cache, 0, row), [2])).toEqual([
      'copyRow needs a row of the cache, from 0 to 1, but got 2',
    ]);
    expect(await refusals((row) => cache.clearRow(row), [2])).not.toEqual(['not refused']);
    expect([cache.contents(0), cache.contents(1)]).toEqual(before);
    expect(await refusals((counts) => cache.reserve(counts), [[1, 1, 1]])).toEqual([
      'reserve needs a row of the cache, from 0 to 1, but got 2',
    ]);
  });
});

describe('lists, caches and formats', () => {
  it('are told with the function that they were given to', async () => {
    expect(await refusals((ids) => open().setPending(0, ids))).toEqual(refused('setPending needs a list of token ids'));
    expect(await refusals((counts) => open().reserve(counts))).toEqual(
      refused('reserve needs a number of tokens for each row'),
    );
    expect(await refusals((chunk) => open().append(chunk))).toEqual(refused("append needs a step's chunk"));
    expect(await refusals((source) => open().copyRow(source, 0, 0))).toEqual(
      refused('copyRow needs a cache, as createCache gives it'),
    );
  });

  it('bufferName names the formats that there are', async () => {
    for (const message of await refusals((choice) => bufferName(choice), [undefined, null, 5, {}, 'int3']))
      expect(message).toMatch(/^there is no cache buffer (undefined|null|5|"int3"); there are float32, float16, /);
    expect(bufferName({ keys: 'int8', values: 'int4' })).toBe('int8,int4');
  });
});
