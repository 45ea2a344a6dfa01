/**
 * @file What the library offers everywhere, without anything that only Node has.
 */

export { checkpointFromBlobs } from './checkpoint/from-blobs.ts';
export type { ByteSource, Checkpoint, StoredTensor } from './checkpoint/types.ts';
export type { Config, NormSpec, RopeScaling, RopeSpec } from './config/config.ts';
export { readConfig } from './config/from-hf.ts';
export * from './errors.ts';
export { type GenerationDefaults, generationDefaults } from './generate/defaults.ts';
export type {
  FinishReason,
  GeneratedPiece,
  GeneratedToken,
  GenerateOptions,
  Generation,
  GenerationSummary,
} from './generate/generate.ts';
export { CHUNK_LENGTH, LanguageModel, type PrefillOptions } from './generate/language-model.ts';
export {
  type AssembleOptions,
  assembleModel,
  planModel,
  WEIGHT_CHOICES,
  type WeightChoice,
} from './generate/load.ts';
export type { LogitBias, LogitsContext, LogitsProcessor } from './generate/logits.ts';
export { type MemoryPlan, type MemoryPlanOptions, planMemory } from './generate/memory-plan.ts';
export type { SamplingOptions, TokenLogprob } from './generate/sampler.ts';
export { DenseKVCache } from './kvcache/dense.ts';
export {
  type CacheMemory,
  type CacheOptions,
  type CacheShape,
  type CacheStats,
  type Candidates,
  KVCache,
} from './kvcache/kv-cache.ts';
export { LastRecentKVCache, type LastRecentOptions } from './kvcache/last-recent.ts';
export { type AnyCacheOptions, createCache, POLICIES } from './kvcache/policies.ts';
export type { StepOptions, StepResult } from './model/stepper.ts';
export type { Runtime, RuntimeTensor, Session } from './runtime/types.ts';
export { Tokenizer } from './tokenizer/tokenizer.ts';
export type { ParamSpec, PreparedWeights, RowSource, WeightFormat } from './weights/types.ts';
