/**
 * @file The library in a browser's page: `keyhold/web`.
 */
export * from '../index.ts';
export {
  DEVICES,
  type HubModelChoice,
  type LoadOptions,
  type LoadProgress,
  loadModel,
  type ModelChoice,
  type ModelFiles,
} from '../web/load-model.ts';
export type { FetchProgress } from '../web/progress.ts';
export { deleteStoredModel, type StoredModel, storedModels } from '../web/stored-models.ts';
export type { Device } from '../web/thread.ts';
export type { WorkerCache } from '../worker/worker-cache.ts';
export type { WorkerBatch, WorkerGeneration } from '../worker/worker-generation.ts';
export type { WorkerModel } from '../worker/worker-model.ts';
