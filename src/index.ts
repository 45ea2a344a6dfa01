/**
 * @file What the library offers everywhere, without anything that only Node has.
 */

export type { AdapterChoice, AdapterOptions, AdapterUse } from './adapters/bank.ts';
export { adapterFromBlobs } from './adapters/from-blobs.ts';
export type { ModelAdapters } from './adapters/model-adapters.ts';
export { type OpenAdapter, openAdapter } from './adapters/read.ts';
export { checkpointFromBlobs } from './checkpoint/from-blobs.ts';
export type { ByteSource, Checkpoint, StoredTensor } from './checkpoint/types.ts';
export type { Config, NormSpec, RopeScaling, RopeSpec } from './config/config.ts';
export { readConfig } from './config/from-hf.ts';
export * from './errors.ts';
export { type CompareOptions, type CompareRow, type Contestant, compare } from './eval/compare.ts';
export { type PerplexityOptions, type PerplexityResult, perplexity } from './eval/perplexity.ts';
export { plotComparison } from './eval/plot.ts';
export {
  parseRecallCases,
  type QuestionPlace,
  type RecallCase,
  type RecallOptions,
  type RecallResult,
  recall,
} from './eval/recall.ts';
export type { BatchEvent, BatchGeneration, BatchOptions, BatchRequest, BatchResult } from './generate/batch.ts';
export type { ChatOptions, TemplateOptions } from './generate/chat.ts';
export {
  type Answer,
  Conversation,
  type ConversationOptions,
  type ConversationState,
} from './generate/conversation.ts';
export { type GenerationDefaults, generationDefaults } from './generate/defaults.ts';
export type { GenerateOptions, Generation, GenerationSummary } from './generate/generate.ts';
export { LanguageModel } from './generate/language-model.ts';
export {
  type AssembleOptions,
  assembleModel,
  planModel,
  WEIGHT_CHOICES,
  type WeightChoice,
} from './generate/load.ts';
export type { LogitBias, LogitsContext, LogitsProcessor } from './generate/logits.ts';
export type { SpeculateOptions, SpeculationStats } from './generate/lookahead.ts';
export {
  type MemoryPlan,
  type MemoryPlanOptions,
  planMemory,
  type ResidentWeights,
  type Workspace,
} from './generate/memory-plan.ts';
export { CHUNK_LENGTH, type PrefillOptions, type PrefillStep } from './generate/prefill.ts';
export type { SamplingOptions, TokenLogprob } from './generate/sampler.ts';
export type { ScoredToken, ScoreOptions as TextScoreOptions, ScoreResult } from './generate/score.ts';
export type { FinishReason, GeneratedPiece, GeneratedToken, WritingOptions } from './generate/writer.ts';
export { AttnWeightsKVCache, type ScoreFrame, type ScoreOptions } from './kvcache/attn-weights.ts';
export { BUFFERS, type BufferKind } from './kvcache/buffers.ts';
export { definePolicy, type PolicyDefinition } from './kvcache/define-policy.ts';
export {
  type CacheMemory,
  type CacheOptions,
  type CacheStats,
  KVCache,
} from './kvcache/kv-cache.ts';
export { DenseKVCache } from './kvcache/policies/dense.ts';
export { H2OKVCache, type H2OOptions } from './kvcache/policies/h2o.ts';
export { LastRecentKVCache, type LastRecentOptions } from './kvcache/policies/last-recent.ts';
export { type AnyCacheOptions, createCache, POLICIES, type PolicyRow } from './kvcache/policies.ts';
export type { CacheShape, LayerShape, RotationShape } from './kvcache/shape.ts';
export type { GroupView, LayerView } from './kvcache/view.ts';
export type { TokenPositions } from './model/bind.ts';
export type { EncodeOptions, EncodeResult, EncoderImage, EncoderInput } from './model/encode.ts';
export type { StepOptions, StepResult } from './model/stepper.ts';
export type { Runtime, RuntimeTensor, Session } from './runtime/types.ts';
export { type ChatMessage, ChatTemplate, type RenderOptions } from './tokenizer/chat-template.ts';
export { Tokenizer } from './tokenizer/tokenizer.ts';
export type { ParamSpec, PreparedWeights, RowSource, WeightFormat } from './weights/types.ts';
