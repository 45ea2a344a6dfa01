import { describe, expect, it } from 'vitest';
import { tokensFrom } from '../../../test/support/cache-runs.ts';
import { fakeStep } from '../../../test/support/fake-graph.ts';
import { FakeModel, fakeRotation, fakeShape } from '../../../test/support/fake-model.ts';
import { InputError } from '../../util/errors.ts';
import type { KVCache } from '../kv-cache.ts';
import { createCache } from '../policies.ts';

const shape = fakeShape({ windows: [null, null], groups: 2, heads: 1, headSize: 4, rotation: fakeRotation(4) });
const model = new FakeModel(shape, 3);
const feed = (cache: KVCache, count: number, phase: 'prompt' | 'decode' = 'decode') =>
  fakeStep(model, cache, [tokensFrom(0, cache.length(), count)], { phase });

describe('expected', () => {
  it.each([1, 2, 3, 4, 5])('trap 1: has scored a token before it is no longer safe, with chunks of %s', (chunk) => {
    const cache = createCache(shape, { policy: 'expected', cacheLength: 12, recent: 4, sinks: 1, horizon: 8 });
    feed(cache, 12, 'prompt');
    const entered = new Set<number>();
    for (let step = 0; step < 12; step++) {
      feed(cache, chunk);
      for (const l of [0, 1])
        for (const g of [0, 1]) {
          const scores = cache.scores(l, 0, g)!;
          for (const [i, position] of cache.tokenPositions(l, 0, g).entries()) {
            if (position >= cache.length() - 4) continue;
            expect(scores[i]).toBeGreaterThan(0);
            if (position >= 12) entered.add(position);
          }
        }
    }
    // New tokens stay after they were recent: unscored ones would all have gone.
    expect(entered.size).toBeGreaterThan(3);
  });

  it('makes its scores anew after so many written tokens, and at every chunk of a prompt', () => {
    const made = (steps: readonly (readonly [number, 'prompt' | 'decode'])[]) => {
      const cache = createCache(shape, { policy: 'expected', cacheLength: 40, recent: 6, refresh: 3, horizon: 8 });
      let before = '';
      return steps.map(([count, phase]) => {
        feed(cache, count, phase);
        const now = String(cache.scores(0)!.slice(0, 2));
        const changed = now !== before;
        before = now;
        return changed;
      });
    };
    const one = [1, 'decode'] as const;
    expect(made([[4, 'prompt'], [4, 'prompt'], one, one, one, one, one, one])).toEqual([
      true,
      true,
      false,
      false,
      true,
      false,
      false,
      true,
    ]);
    expect(
      made([
        [4, 'prompt'],
        [2, 'decode'],
        [2, 'decode'],
        [2, 'decode'],
        [2, 'decode'],
      ]),
    ).toEqual([true, false, true, false, true]);
  });

  it('refuses options out of bounds, and keys whose rotation varies', () => {
    for (const options of [{ horizon: 0 }, { refresh: 0 }, { horizon: 1.5 }])
      expect(() => createCache(shape, { policy: 'expected', cacheLength: 12, ...options })).toThrow(InputError);
    const varying = fakeShape({ windows: [null], groups: 1, heads: 1, headSize: 4, rotation: 'varies' });
    expect(() => createCache(varying, { policy: 'expected', cacheLength: 12 })).toThrow(
      /needs rotations that don't depend on the length/,
    );
  });
});
