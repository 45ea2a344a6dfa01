/**
 * @file `keyhold/adapters` where there is no Node: adapters of PEFT and LitGPT.
 */
export type { AdapterChoice, AdapterOptions, AdapterUse } from '../adapters/bank.ts';
export { adapterFromBlobs } from '../adapters/from-blobs.ts';
export type { ModelAdapters } from '../adapters/model-adapters.ts';
export { type OpenAdapter, openAdapter } from '../adapters/read.ts';
