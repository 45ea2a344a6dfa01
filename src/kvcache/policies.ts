/**
 * @file The table of cache policies. A new policy is one file in policies/, and one row here.
 */
import { InputError } from '../errors.ts';
import type { ScoreOptions } from './attn-weights.ts';
import type { CacheShape, KVCache } from './kv-cache.ts';
import { DenseKVCache } from './policies/dense.ts';
import { H2OKVCache, type H2OOptions } from './policies/h2o.ts';
import { H2OOriginalKVCache } from './policies/h2o-orig.ts';
import { ValueLengthH2OKVCache } from './policies/h2o-vlen.ts';
import { KeyDiffKVCache } from './policies/keydiff.ts';
import { KeyNormKVCache } from './policies/knorm.ts';
import { LastRecentKVCache, type LastRecentOptions } from './policies/last-recent.ts';
import { TovaKVCache } from './policies/tova.ts';

/** The options of all policies; each reads its own. */
export interface PolicyOptions extends LastRecentOptions, ScoreOptions, H2OOptions {}

interface PolicyRow {
  readonly summary: string;
  readonly cache: new (shape: CacheShape, options: PolicyOptions) => KVCache;
}

export const POLICIES: Readonly<Record<string, PolicyRow>> = {
  dense: { summary: 'keeps every token; full is an error', cache: DenseKVCache },
  lastrec: { summary: 'keeps the first tokens (sinks) and the most recent ones', cache: LastRecentKVCache },
  h2o: { summary: 'keeps those that received the most attention', cache: H2OKVCache },
  'h2o-orig': { summary: 'h2o as published: not normalised, half of the budget recent', cache: H2OOriginalKVCache },
  'h2o-vlen': { summary: 'h2o with weights times the length of the value', cache: ValueLengthH2OKVCache },
  tova: { summary: 'keeps what the newest token looks at', cache: TovaKVCache },
  knorm: { summary: 'keeps short keys', cache: KeyNormKVCache },
  keydiff: { summary: 'keeps keys unlike the others', cache: KeyDiffKVCache },
};

/** Any policy's options, and its name. */
export interface AnyCacheOptions extends PolicyOptions {
  /** Name of a row of {@link POLICIES}; `dense` unless stated. */
  readonly policy?: string;
}

/** @throws InputError for a policy that is not in the table, or options that it refuses. */
export function createCache(shape: CacheShape, options: AnyCacheOptions): KVCache {
  const { policy = 'dense', ...rest } = options;
  if (!Object.hasOwn(POLICIES, policy))
    throw new InputError(`there is no cache policy "${policy}"; there are ${Object.keys(POLICIES).join(', ')}`);
  return new POLICIES[policy].cache(shape, rest);
}
