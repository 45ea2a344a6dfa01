/**
 * @file `keyhold/policies`: which tokens a cache keeps, and how to write a policy of your own.
 */

export { BUFFERS, type BufferChoice, type BufferKind, bufferName } from '../kvcache/buffers.ts';
export { denseBytes, readCacheBytes, resolveCacheBytes } from '../kvcache/byte-budget.ts';
export {
  AttnWeightsKVCache,
  DenseKVCache,
  ExpectedAttentionKVCache,
  H2OKVCache,
  H2OOriginalKVCache,
  KeyDiffKVCache,
  KeyNormKVCache,
  LastRecentKVCache,
  LeverageKVCache,
  PyramidKVCache,
  QuantizedH2OKVCache,
  SnapKVCache,
  TovaKVCache,
  ValueLengthH2OKVCache,
} from '../kvcache/caches.ts';
export type { CacheContents, CacheMemory, CacheStats } from '../kvcache/inspect.ts';
export { KVCache } from '../kvcache/kv-cache.ts';
export type { CacheLease } from '../kvcache/lease.ts';
export type { CacheOptions, ScoredPolicyOptions } from '../kvcache/options.ts';
export type { H2OOptions } from '../kvcache/policies/h2o.ts';
export type { LastRecentOptions } from '../kvcache/policies/last-recent.ts';
export { type AnyCacheOptions, type AnyPolicy, checkCacheOptions, createCache, POLICIES } from '../kvcache/policies.ts';
export { definePolicy, isPolicyEntry, type PolicyDefinition } from '../kvcache/policy/define-policy.ts';
export type { FrameOptions } from '../kvcache/policy/frame.ts';
export type { GroupView } from '../kvcache/policy/group-view.ts';
export type { Need } from '../kvcache/policy/needs.ts';
export type {
  ChunkStart,
  Policy,
  PolicyChoice,
  PolicyEntry,
  PolicyRules,
  PolicySetup,
} from '../kvcache/policy/policy.ts';
export type { LayerView } from '../kvcache/policy/view.ts';
export { ada, mix } from '../kvcache/policy-combinations.ts';
export * from '../kvcache/policy-functions.ts';
export { type CalibrationTable, readCalibrationTable } from '../kvcache/routing/calibration-table.ts';
export type { RoutedOptions } from '../kvcache/routing/routed.ts';
export type { RouteOptions, Routes } from '../kvcache/routing/routes.ts';
export type { CacheStep, GroupStep, StepListener } from '../kvcache/rows/events.ts';
export type { CacheShape, LayerShape, RotationShape } from '../kvcache/shape.ts';
