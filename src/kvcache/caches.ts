/**
 * @file The built-in policies as classes: `new H2OKVCache(shape, options)` is
 * `createCache(shape, { policy: 'h2o', ...options })`.
 */
import { KVCache } from './kv-cache.ts';
import type { CacheOptions, ScoredPolicyOptions } from './options.ts';
import { dense } from './policies/dense.ts';
import { type ExpectedOptions, expectedAttention } from './policies/expected.ts';
import { type H2OOptions, h2o, h2oOriginal } from './policies/h2o.ts';
import { valueLengthH2O } from './policies/h2o-vlen.ts';
import { keyDiff } from './policies/keydiff.ts';
import { keyNorm } from './policies/knorm.ts';
import { type LastRecentOptions, lastRecent } from './policies/last-recent.ts';
import { type LeverageOptions, leverage } from './policies/leverage.ts';
import { type PyramidOptions, pyramidKV } from './policies/pyramid.ts';
import { type QuantizedH2OOptions, quantizedH2O } from './policies/qh2o.ts';
import { type SnapKVOptions, snapKV } from './policies/snapkv.ts';
import { tova } from './policies/tova.ts';
import type { PolicyEntry } from './policy/policy.ts';
import type { CacheShape } from './shape.ts';

/** A cache of one policy, by its constructor. */
type CacheClass<Options> = new (shape: CacheShape, options: Options) => KVCache;

/**
 * A cache under any policy that ranks slots by a score, mostly of attention weights: attend, then observe, then evict.
 */
export class AttnWeightsKVCache extends KVCache {}

const cacheOf = <Options extends CacheOptions>(policy: PolicyEntry, Base = AttnWeightsKVCache): CacheClass<Options> =>
  class extends Base {
    constructor(shape: CacheShape, options: Options) {
      super(shape, policy, options);
    }
  };

/** A cache of the policy `dense`. @throws InputError for options out of range. */
export const DenseKVCache = cacheOf<CacheOptions>(dense, KVCache);
/** A cache of the policy `lastrec`. @throws InputError for options out of range. */
export const LastRecentKVCache = cacheOf<LastRecentOptions>(lastRecent, KVCache);
/** A cache of the policy `h2o`. @throws InputError for options out of range. */
export const H2OKVCache = cacheOf<H2OOptions>(h2o);
/** A cache of the policy `h2o-orig`. @throws InputError for options out of range. */
export const H2OOriginalKVCache = cacheOf<H2OOptions>(h2oOriginal);
/** A cache of the policy `h2o-vlen`. @throws InputError for options out of range. */
export const ValueLengthH2OKVCache = cacheOf<H2OOptions>(valueLengthH2O);
/** A cache of the policy `qh2o`. @throws InputError for options out of range. */
export const QuantizedH2OKVCache = cacheOf<QuantizedH2OOptions>(quantizedH2O);
/** A cache of the policy `tova`. @throws InputError for options out of range. */
export const TovaKVCache = cacheOf<ScoredPolicyOptions>(tova);
/** A cache of the policy `snapkv`. @throws InputError for options out of range. */
export const SnapKVCache = cacheOf<SnapKVOptions>(snapKV);
/** A cache of the policy `pyramid`. @throws InputError for options out of range. */
export const PyramidKVCache = cacheOf<PyramidOptions>(pyramidKV);
/** A cache of the policy `expected`. @throws InputError for options out of range. */
export const ExpectedAttentionKVCache = cacheOf<ExpectedOptions>(expectedAttention);
/** A cache of the policy `knorm`. @throws InputError for options out of range. */
export const KeyNormKVCache = cacheOf<ScoredPolicyOptions>(keyNorm);
/** A cache of the policy `keydiff`. @throws InputError for options out of range. */
export const KeyDiffKVCache = cacheOf<ScoredPolicyOptions>(keyDiff);
/** A cache of the policy `leverage`. @throws InputError for options out of range. */
export const LeverageKVCache = cacheOf<LeverageOptions>(leverage);
