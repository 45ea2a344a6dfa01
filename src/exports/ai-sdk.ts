/**
 * @file `keyhold/ai-sdk`: a model of this process for the AI SDK.
 */
export type { KeyholdCallOptions } from '../ai-sdk/call.ts';
export { type AiSdkModelOptions, aiSdkModel } from '../ai-sdk/language-model.ts';
