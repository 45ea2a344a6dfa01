/**
 * @file The library in Node: {@link loadModel} from a folder, a file or the hub, run by ONNX Runtime's native build.
 */
import { existsSync } from 'node:fs';
import { downloadFromHub, type HubDownloadOptions, type HubProgress } from './checkpoint/hub-node.ts';
import { openCheckpointFolder } from './checkpoint/open-node.ts';
import type { Checkpoint } from './checkpoint/types.ts';
import { InputError } from './errors.ts';
import type { LanguageModel } from './generate/language-model.ts';
import { assembleModel, type WeightChoice } from './generate/load.ts';
import { nodeRuntime } from './runtime/onnxruntime-node.ts';
import { openPreparedWeights } from './weights/store-node.ts';

export { downloadFromHub, type HubDownloadOptions, type HubProgress } from './checkpoint/hub-node.ts';
export { openCheckpointFolder } from './checkpoint/open-node.ts';
export { loadConversation, saveConversation } from './generate/conversation-node.ts';
export { loadCache, saveCache } from './generate/snapshot-node.ts';
export * from './index.ts';
export { nodeRuntime } from './runtime/onnxruntime-node.ts';
export type { WorkerCache } from './worker/worker-cache.ts';
export type { WorkerBatch, WorkerBatchRequest, WorkerGeneration } from './worker/worker-generation.ts';
export {
  loadModelInWorker,
  type WorkerChatOptions,
  type WorkerGenerateOptions,
  type WorkerLoadOptions,
  type WorkerModel,
  type WorkerScoreOptions,
} from './worker/worker-model-node.ts';

/** What loading tells while it goes on. */
export type LoadProgress =
  | ({ readonly stage: 'download' } & HubProgress)
  /** Weights are being prepared: bytes written, and bytes in all. */
  | { readonly stage: 'weights'; readonly bytes: number; readonly total: number };

export interface LoadOptions {
  /** How matrices are stored and multiplied; `auto` unless stated. */
  readonly weights?: WeightChoice;
  /** Threads of the runtime; all cores unless stated. */
  readonly threads?: number;
  /** Where prepared weights are kept; `$KEYHOLD_CACHE`, or `~/.cache/keyhold`, unless stated. */
  readonly cacheDir?: string;
  /** Revision, token, endpoint and so on, for a model from the hub. */
  readonly hub?: Omit<HubDownloadOptions, 'onProgress' | 'signal'>;
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

/**
 * Loads a model.
 * @param model a folder or .safetensors file, a hub id (`org/name`), or a checkpoint that is open already.
 * @throws ConfigError, CheckpointError, TokenizerError: what is wrong with the files; HubError; WeightsError: prepared
 * weights can't be stored; the signal's reason.
 */
export async function loadModel(model: string | Checkpoint, options: LoadOptions = {}): Promise<LanguageModel> {
  const { onProgress, signal, cacheDir } = options;
  signal?.throwIfAborted();
  const checkpoint = typeof model === 'string' ? await openModel(model, options) : model;
  try {
    return await assembleModel({
      checkpoint,
      runtime: nodeRuntime,
      weights: options.weights,
      threads: options.threads,
      prepare: (request) =>
        openPreparedWeights({
          ...request,
          cacheDir,
          signal,
          onProgress: (p) => onProgress?.({ stage: 'weights', ...p }),
        }),
    });
  } finally {
    if (typeof model === 'string') await checkpoint.close();
  }
}

/**
 * Opens a checkpoint by path or hub id; downloads it where it is not there yet.
 * @throws CheckpointError, HubError
 */
export async function openModel(model: string, options: LoadOptions = {}): Promise<Checkpoint> {
  if (model === '') throw new InputError('the name of the model is empty');
  const isPath = existsSync(model) || /^(\.{0,2}[/\\]|~|[A-Za-z]:)/.test(model) || model.split('/').length > 2;
  if (isPath) return openCheckpointFolder(model);
  const { onProgress, signal, hub } = options;
  const folder = await downloadFromHub(model, {
    ...hub,
    signal,
    onProgress: (p) => onProgress?.({ stage: 'download', ...p }),
  });
  return openCheckpointFolder(folder);
}
