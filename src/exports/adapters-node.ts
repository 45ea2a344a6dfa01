/**
 * @file `keyhold/adapters`: adapters of PEFT and LitGPT.
 */
export { openAdapterFolder } from '../adapters/read/open-node.ts';
export type { MergeOptions, MergeResult, MergeSource } from '../load/adapters/merge-node.ts';
export { mergeAdapters } from '../load/load-model-node.ts';
export * from './adapters.ts';
