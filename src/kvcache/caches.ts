/**
 * @file The built-in policies as classes: `new H2OKVCache(shape, options)` is `createCache(shape, { policy: 'h2o', ...options })`.
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
import type { PolicyRow } from './policy.ts';
import type { CacheShape } from './shape.ts';

/** A cache of one policy, by its constructor. */
type CacheClass<Options> = new (shape: CacheShape, options: Options) => KVCache;

/** A cache under any policy that ranks slots by a score, mostly of attention weights: attend, then observe, then evict. */
export class AttnWeightsKVCache extends KVCache {}

const cacheOf = <Options extends CacheOptions>(policy: PolicyRow, Base = AttnWeightsKVCache): CacheClass<Options> =>
  class extends Base {
    constructor(shape: CacheShape, options: Options) {
      super(shape, policy, options);
    }
  };

export const DenseKVCache = cacheOf<CacheOptions>(dense, KVCache);
export const LastRecentKVCache = cacheOf<LastRecentOptions>(lastRecent, KVCache);
export const H2OKVCache = cacheOf<H2OOptions>(h2o);
export const H2OOriginalKVCache = cacheOf<H2OOptions>(h2oOriginal);
export const ValueLengthH2OKVCache = cacheOf<H2OOptions>(valueLengthH2O);
export const QuantizedH2OKVCache = cacheOf<QuantizedH2OOptions>(quantizedH2O);
export const TovaKVCache = cacheOf<ScoredPolicyOptions>(tova);
export const SnapKVCache = cacheOf<SnapKVOptions>(snapKV);
export const PyramidKVCache = cacheOf<PyramidOptions>(pyramidKV);
export const ExpectedAttentionKVCache = cacheOf<ExpectedOptions>(expectedAttention);
export const KeyNormKVCache = cacheOf<ScoredPolicyOptions>(keyNorm);
export const KeyDiffKVCache = cacheOf<ScoredPolicyOptions>(keyDiff);
export const LeverageKVCache = cacheOf<LeverageOptions>(leverage);
