/**
 * @file The table of cache policies. A new policy is one file in policies/, and one row here.
 */
import { InputError } from '../util/errors.ts';
import { AttnWeightsKVCache, type ScoreOptions } from './attn-weights.ts';
import type { KVCache } from './kv-cache.ts';
import { DenseKVCache } from './policies/dense.ts';
import { ExpectedAttentionKVCache, type ExpectedOptions } from './policies/expected.ts';
import { H2OKVCache, type H2OOptions } from './policies/h2o.ts';
import { H2OOriginalKVCache } from './policies/h2o-orig.ts';
import { ValueLengthH2OKVCache } from './policies/h2o-vlen.ts';
import { KeyDiffKVCache } from './policies/keydiff.ts';
import { KeyNormKVCache } from './policies/knorm.ts';
import { LastRecentKVCache, type LastRecentOptions } from './policies/last-recent.ts';
import { PyramidKVCache, type PyramidOptions } from './policies/pyramid.ts';
import { QuantisedH2OKVCache, type QuantisedH2OOptions } from './policies/qh2o.ts';
import { SnapKVCache } from './policies/snapkv.ts';
import { TovaKVCache } from './policies/tova.ts';
import type { CacheShape } from './shape.ts';

/** The options of all policies; each reads its own. */
export interface PolicyOptions
  extends LastRecentOptions,
    ScoreOptions,
    H2OOptions,
    QuantisedH2OOptions,
    PyramidOptions,
    ExpectedOptions {}

/** A policy as the table holds it. */
export interface PolicyRow {
  readonly name: string;
  readonly summary: string;
  readonly cache: new (shape: CacheShape, options: PolicyOptions) => KVCache;
}

const ROWS: readonly PolicyRow[] = [
  { name: 'dense', summary: 'keeps every token; full is an error', cache: DenseKVCache },
  { name: 'lastrec', summary: 'the first tokens (sinks) and the most recent ones', cache: LastRecentKVCache },
  { name: 'h2o', summary: 'those that received the most attention', cache: H2OKVCache },
  {
    name: 'h2o-orig',
    summary: 'h2o as published: not normalised, half of the budget recent',
    cache: H2OOriginalKVCache,
  },
  { name: 'h2o-vlen', summary: 'h2o, weights times the length of the value', cache: ValueLengthH2OKVCache },
  { name: 'qh2o', summary: 'h2o, less what quantisation lost', cache: QuantisedH2OKVCache },
  { name: 'tova', summary: 'what the newest token looks at', cache: TovaKVCache },
  { name: 'snapkv', summary: "what the prompt's end looks at, then as h2o", cache: SnapKVCache },
  { name: 'pyramid', summary: 'snapkv, with more slots for early layers', cache: PyramidKVCache },
  { name: 'expected', summary: 'what future queries are likely to look at', cache: ExpectedAttentionKVCache },
  { name: 'knorm', summary: 'short keys', cache: KeyNormKVCache },
  { name: 'keydiff', summary: 'keys unlike the others', cache: KeyDiffKVCache },
];

/** All policies by name. */
export const POLICIES: Readonly<Record<string, PolicyRow>> = Object.fromEntries(ROWS.map((row) => [row.name, row]));

/** Any policy's options, and which one. */
export interface AnyCacheOptions extends PolicyOptions {
  /**
   * Name of a policy of {@link POLICIES} (`dense` unless stated), a name within `ada(…)`, or one made by `definePolicy`.
   */
  readonly policy?: string | PolicyRow;
}

/** @throws InputError for a policy that is not in the table, or options that it refuses. */
export function createCache(shape: CacheShape, options: AnyCacheOptions): KVCache {
  const { policy = 'dense', ...rest } = options;
  if (typeof policy !== 'string') return new policy.cache(shape, rest);
  const [, wrapped] = /^ada\((.*)\)$/.exec(policy) ?? [];
  const name = wrapped ?? policy;
  if (!Object.hasOwn(POLICIES, name))
    throw new InputError(
      `there is no cache policy "${name}"; there are ${Object.keys(POLICIES).join(', ')}, and ada(…) around those with scores`,
    );
  const { cache } = POLICIES[name];
  if (wrapped === undefined) return new cache(shape, rest);
  if (!(cache.prototype instanceof AttnWeightsKVCache))
    throw new InputError(`ada(${name}): the policy ${name} has no scores that groups could share a budget by`);
  return new cache(shape, { ada: true, ...rest });
}
