/**
 * @file The table of cache policies. A new policy is one file beside this one, and one row here.
 */
import { InputError } from '../errors.ts';
import { DenseKVCache } from './dense.ts';
import type { CacheOptions, CacheShape, KVCache } from './kv-cache.ts';
import { LastRecentKVCache, type LastRecentOptions } from './last-recent.ts';

interface PolicyRow {
  readonly summary: string;
  readonly create: (shape: CacheShape, options: CacheOptions) => KVCache;
}

export const POLICIES: Readonly<Record<string, PolicyRow>> = {
  dense: { summary: 'keeps every token; full is an error', create: (s, o) => new DenseKVCache(s, o) },
  lastrec: {
    summary: 'keeps the first tokens (sinks) and the most recent ones',
    create: (s, o) => new LastRecentKVCache(s, o as LastRecentOptions),
  },
};

/** Any policy's options, and its name. */
export interface AnyCacheOptions extends LastRecentOptions {
  /** Name of a row of {@link POLICIES}; `dense` unless stated. */
  readonly policy?: string;
}

/** @throws InputError for a policy that is not in the table, or options that it refuses. */
export function createCache(shape: CacheShape, options: AnyCacheOptions): KVCache {
  const { policy = 'dense', ...rest } = options;
  if (!Object.hasOwn(POLICIES, policy))
    throw new InputError(`there is no cache policy "${policy}"; there are ${Object.keys(POLICIES).join(', ')}`);
  return POLICIES[policy].create(shape, rest);
}
