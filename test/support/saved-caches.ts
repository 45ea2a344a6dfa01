/**
 * Caches that test/fixtures/snapshots has in an older format: how they are made again.
 */
import type { KVCache } from '../../src/kvcache/kv-cache.ts';
import { createCache } from '../../src/kvcache/policies.ts';
import { tokensFrom } from './cache-runs.ts';
import { fakeStep } from './fake-graph.ts';
import { FakeModel, fakeRotation, fakeShape } from './fake-model.ts';

export const SAVED_SHAPE = fakeShape({
  windows: [null, 6],
  groups: 2,
  heads: 2,
  headSize: 4,
  rotation: fakeRotation(4),
});
const model = new FakeModel(SAVED_SHAPE, 3);

/** Options by the name of the file. */
export const SAVED_CACHES = {
  h2o: { policy: 'h2o', cacheLength: 8, buffer: 'int8' },
  keydiff: { policy: 'keydiff', cacheLength: 8 },
  expected: { policy: 'expected', cacheLength: 12, sinks: 1, recent: 4, horizon: 8 },
  lastrec: { policy: 'lastrec', cacheLength: 8, sinks: 2, buffer: 'float16' },
} as const;
export type SavedCache = keyof typeof SAVED_CACHES;

/** A prompt of two chunks and two tokens; the keys of `lastrec` are rotated to smaller positions. */
export function makeCache(name: SavedCache): KVCache {
  const cache = createCache(SAVED_SHAPE, SAVED_CACHES[name]);
  feedCache(cache, 7, 'prompt');
  feedCache(cache, 6, 'prompt');
  feedCache(cache, 1);
  if (name === 'lastrec') cache.rebase();
  feedCache(cache, 1);
  return cache;
}

export function feedCache(cache: KVCache, count: number, phase: 'prompt' | 'decode' = 'decode'): void {
  fakeStep(model, cache, [tokensFrom(0, cache.length(), count)], { phase });
}
