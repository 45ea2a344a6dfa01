/**
 * @file `keyhold/policies`: which tokens a cache keeps, and how to write a policy of your own.
 */
export {
  AttnWeightsKVCache,
  type ScoreFrame,
  type ScoreOptions as ScoredPolicyOptions,
} from '../kvcache/attn-weights.ts';
export { BUFFERS, type BufferKind } from '../kvcache/buffers.ts';
export { definePolicy, type PolicyDefinition } from '../kvcache/define-policy.ts';
export { type CacheMemory, type CacheOptions, type CacheStats, KVCache } from '../kvcache/kv-cache.ts';
export { DenseKVCache } from '../kvcache/policies/dense.ts';
export { H2OKVCache, type H2OOptions } from '../kvcache/policies/h2o.ts';
export { LastRecentKVCache, type LastRecentOptions } from '../kvcache/policies/last-recent.ts';
export { type AnyCacheOptions, createCache, POLICIES, type PolicyRow } from '../kvcache/policies.ts';
export type { CacheShape, LayerShape, RotationShape } from '../kvcache/shape.ts';
export type { GroupView, LayerView } from '../kvcache/view.ts';
