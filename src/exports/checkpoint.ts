/**
 * @file `keyhold/checkpoint` where there is no Node: what a checkpoint holds and what it takes, without running it.
 */

export type { ToolCall, ToolSchemas } from '../chat/answers/bodies.ts';
export {
  ANSWER_FORMATS,
  type AnswerFormat,
  answerFormatOf,
  type CallStart,
  type CallSyntax,
  type CallWriting,
} from '../chat/answers/formats.ts';
export { AnswerParser, type AnswerParserOptions, type AnswerPart } from '../chat/answers/parser.ts';
export { ChatTemplate } from '../chat/chat-template.ts';
export { checkpointFromBlobs } from '../checkpoint/from-blobs.ts';
export type { ByteSource, Checkpoint, StoredTensor } from '../checkpoint/types.ts';
export type { Config } from '../config/config.ts';
export { type LayerSpec, type MixerSpec, type SlotSpec, slotSpec } from '../config/layer-spec.ts';
export type { MlpSpec } from '../config/mlp-spec.ts';
export { type GenerationDefaults, generationDefaults } from '../engine/defaults.ts';
export type { RenderOptions } from '../engine/messages.ts';
export { readConfig } from '../families/read-config.ts';
export type { ResidentWeights } from '../load/memory/engine-memory.ts';
export { type MemoryPlan, type MemoryPlanOptions, planMemory, type Workspace } from '../load/memory/memory-plan.ts';
export type { ModelPlan } from '../load/model-plan.ts';
export { planModel } from '../load/plan.ts';
export { WEIGHT_CHOICES, type WeightChoice } from '../load/weights/weight-choice.ts';
export { Tokenizer } from '../tokenizer/tokenizer.ts';
export type { ParamSpec, RowSource, WeightFormat } from '../weights/types.ts';
