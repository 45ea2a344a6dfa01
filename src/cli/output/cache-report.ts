/**
 * @file What a cache held and what it dropped, in numbers.
 */
import { slotLayers } from '../../config/config.ts';
import type { Config } from '../../exports/checkpoint.ts';
import { createCache } from '../../exports/policies.ts';
import type { KVCache } from '../../index.ts';

/** First and last of positions that follow each other. */
export type Range = readonly [first: number, last: number];

/** Layers that hold the same tokens. */
export interface HeldLayers {
  readonly layers: readonly number[];
  /** Their sliding window, or null. */
  readonly window: number | null;
  readonly positions: readonly Range[];
}

export interface CacheReport {
  readonly policy: string;
  readonly cacheLength: number;
  /** Tokens that went through the model. */
  readonly seen: number;
  /** Tokens that are held: a mean over layers and groups where these differ. */
  readonly held: number;
  /** Tokens that were dropped, likewise. */
  readonly evicted: number;
  /** Of keys and values, now. */
  readonly bytes: number;
  /** The most that they can come to. */
  readonly limitBytes: number;
  /** What a dense cache of all tokens would take. */
  readonly denseBytes: number;
  /** Which tokens are held; null where the groups of a layer chose differently. */
  readonly positions: readonly HeldLayers[] | null;
}

export function reportCache(cache: KVCache, config: Config): CacheReport {
  const stats = cache.stats();
  const { keysAndValues, keysAndValuesLimit } = cache.memory();
  const seen = stats.seen[0];
  return {
    policy: stats.policy,
    cacheLength: stats.cacheLength,
    seen,
    held: stats.held[0],
    evicted: stats.evicted[0],
    bytes: keysAndValues,
    limitBytes: keysAndValuesLimit,
    denseBytes: createCache(cache.shape, { policy: 'dense', cacheLength: Math.max(1, seen) }).memory()
      .keysAndValuesLimit,
    positions: heldLayers(cache, config),
  };
}

function heldLayers(cache: KVCache, config: Config): HeldLayers[] | null {
  const found = new Map<string, { layers: number[]; window: number | null; positions: Range[] }>();
  for (const { layer, slots } of slotLayers(config)) {
    const { groups, window } = slots;
    const positions = toRanges(cache.tokenPositions(layer));
    const key = JSON.stringify([window, positions]);
    for (let group = 1; group < groups; group++)
      if (JSON.stringify([window, toRanges(cache.tokenPositions(layer, 0, group))]) !== key) return null;
    const same = found.get(key);
    if (same) same.layers.push(layer);
    else found.set(key, { layers: [layer], window, positions });
  }
  return [...found.values()];
}

/** Per position: the share of layers and groups that hold it. */
export function heldShare(cache: KVCache, config: Config): Float32Array {
  const share = new Float32Array(cache.length());
  const layers = slotLayers(config);
  const each = 1 / layers.reduce((sum, { slots }) => sum + slots.groups, 0);
  for (const { layer, slots } of layers)
    for (let group = 0; group < slots.groups; group++)
      for (const position of cache.tokenPositions(layer, 0, group)) share[position] += each;
  return share;
}

/** @param positions ascending. */
function toRanges(positions: readonly number[]): Range[] {
  const ranges: [number, number][] = [];
  for (const position of positions) {
    const last = ranges.at(-1);
    if (last && last[1] === position - 1) last[1] = position;
    else ranges.push([position, position]);
  }
  return ranges;
}
