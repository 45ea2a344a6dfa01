/**
 * @file `keyhold/checkpoint`: what a checkpoint holds and what it takes, without running it.
 */
export { openCheckpointFolder } from '../checkpoint/open-node.ts';
export type { HubRetry } from '../hub/http.ts';
export { downloadFromHub, type HubDownloadOptions, type HubProgress } from '../hub/hub-node.ts';
export { type ConvertOptions, type ConvertResult, writeGguf } from '../load/convert/convert-node.ts';
export { openCheckpoint, preparedFormats } from '../load/load-model-node.ts';
export { type MemoryPlanOptions, planMemory } from '../load/memory/memory-plan-node.ts';
export * from './checkpoint.ts';
