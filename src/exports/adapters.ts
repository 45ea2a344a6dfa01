/**
 * @file `keyhold/adapters` where there is no Node: adapters of PEFT and LitGPT.
 */
export type { AdapterChoice, AdapterOptions, AdapterUse } from '../adapters/choice.ts';
export type { OpenAdapter } from '../adapters/read/adapter-files.ts';
export { adapterFromBlobs } from '../adapters/read/from-blobs.ts';
export { openAdapter } from '../adapters/read/open-adapter.ts';
export type { AdapterRegistry } from '../adapters/registry.ts';
