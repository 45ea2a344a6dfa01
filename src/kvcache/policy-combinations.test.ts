import { describe, expect, it } from 'vitest';
import { tokensFrom } from '../../test/support/cache-runs.ts';
import { fakeStep } from '../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../test/support/fake-model.ts';
import { type AnyPolicy, createCache } from './policies.ts';
import { definePolicy } from './policy/define-policy.ts';
import { ada, mix } from './policy-combinations.ts';
import { h2o, knorm, routed } from './policy-functions.ts';
import { restoreCache, snapshotCache } from './snapshot.ts';

const shape = fakeShape({ windows: [null, null], groups: 2, heads: 2, headSize: 4 });
const model = new FakeModel(shape, 5);
const routes = {
  slots: [
    [6, 10],
    [8, 8],
  ],
  retrieval: [
    [0, 1],
    [0, 1],
  ],
}; // prettier-ignore
/** h2o, as somebody would write it. */
const own = definePolicy<{ fade?: number }>({
  name: 'own',
  options: { fade: 'what is left of a score' },
  needs: ['sums'],
  sinks: 4,
  countedQueries: () => Number.POSITIVE_INFINITY,
  setup: ({ options: { fade = 1 } }) => ({
    score: ({ scores, weights: [sums], length }) => {
      for (let j = 0; j < length; j++) scores[j] = fade * scores[j] + sums[j];
      return undefined;
    },
  }),
});

/** Positions of all groups after some chunks. */
async function positions(policy: AnyPolicy, options: object = {}): Promise<number[][]> {
  const cache = createCache(shape, { cacheLength: 8, policy, ...options } as never);
  for (const length of [9, 5, 1, 3]) fakeStep(model, cache, [tokensFrom(0, cache.length(), length)]);
  const entry = typeof policy === 'object' && 'entry' in policy ? policy.entry : undefined;
  const saved = await restoreCache(await snapshotCache(cache, 'm'), shape, 'm', entry);
  for (const each of [cache, saved]) fakeStep(model, each, [tokensFrom(0, each.length(), 1)]);
  const of = (each: typeof cache) => [0, 1].flatMap((l) => [0, 1].map((g) => each.tokenPositions(l, 0, g)));
  expect(of(saved)).toEqual(of(cache));
  return of(cache);
}

describe('combinations of policies as functions', () => {
  it('are those of the names', async () => {
    expect(await positions(mix('h2o', knorm()))).toEqual(await positions('mix(h2o, knorm)'));
    expect(await positions(ada('h2o'))).toEqual(await positions('ada(h2o)'));
    expect(await positions(routed('h2o', 'lastrec'), { routes })).toEqual(
      await positions('routed(h2o, lastrec)', { routes }),
    );
  });

  it('take policies of your own, with their options', async () => {
    expect(await positions(mix(own, 'knorm'))).toEqual(await positions('mix(h2o, knorm)'));
    expect(await positions(ada(own))).toEqual(await positions('ada(h2o)'));
    const wanted = await positions('routed(h2o, lastrec)', { routes });
    expect(await positions(routed(own, 'lastrec'), { routes })).toEqual(wanted);
    expect(await positions(routed(own, 'lastrec', { routes }))).toEqual(wanted);
    const fading = { entry: own, options: { fade: 0 } };
    expect(await positions(routed(fading, 'lastrec'), { routes })).not.toEqual(wanted);
    expect(await positions(routed(own, 'lastrec'), { routes, policyOptions: { fade: 0 } })).not.toEqual(wanted);
  });

  it('of the same policies share their steps', () => {
    const [a, b] = [mix(own, 'knorm'), mix(own, 'knorm')];
    expect(a.entry).toBe(b.entry);
    const other = definePolicy({ name: 'own', score: ({ positions, length }) => positions.slice(0, length) });
    expect(mix(other, 'knorm').entry).not.toBe(a.entry);
  });

  it('are refused where they can not be', () => {
    const tries: [() => unknown, RegExp][] = [
      [() => mix(h2o({ recent: 2 }), knorm({ recent: 3 })), /mix\(h2o, knorm\): .*recent, so it can't have two values/],
      [() => mix(ada('h2o'), 'knorm'), /ada\(…\) goes around the whole/],
      [() => ada('lastrec'), /ada\(lastrec\): the policy lastrec has no scores/],
      [() => routed('routed', 'lastrec'), /routed can't decide about single groups/],
      [() => routed('h2o', 'lastrec', { betta: 1 } as never), /has no option betta; did you mean beta/],
      [() => mix((() => 1) as never, 'h2o'), /policy must be the name of a cache policy/],
    ];
    for (const [make, message] of tries) expect(make).toThrow(message);
  });
});

it('a cache saved under a policy of your own says that it must be given', async () => {
  const cache = createCache(shape, { cacheLength: 8, policy: own } as never);
  const bytes = await snapshotCache(cache, 'm');
  await expect(restoreCache(bytes, shape, 'm')).rejects.toThrow(
    /its policy "own" is none of those that are included: give it, as in loadCache\(model, path, policy\)/,
  );
});
