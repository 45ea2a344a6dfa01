/**
 * @file The library in Node: {@link loadModel} from a folder, a file or the hub, run by ONNX Runtime's native build.
 */
import { existsSync } from 'node:fs';
import { adapterName, openAdapterFolder } from './adapters/open-node.ts';
import { downloadFromHub, type HubDownloadOptions, type HubProgress } from './checkpoint/hub-node.ts';
import { openCheckpointFolder } from './checkpoint/open-node.ts';
import type { Checkpoint } from './checkpoint/types.ts';
import { InputError } from './errors.ts';
import type { LanguageModel } from './generate/language-model.ts';
import { assembleModel, type WeightChoice } from './generate/load.ts';
import { type MergeOptions, type MergeResult, type MergeSource, mergeInto } from './generate/merge-node.ts';
import { nodeRuntime } from './runtime/onnxruntime-node.ts';
import { openPreparedWeights } from './weights/store-node.ts';

export { openAdapterFolder } from './adapters/open-node.ts';
export { downloadFromHub, type HubDownloadOptions, type HubProgress } from './checkpoint/hub-node.ts';
export { openCheckpointFolder } from './checkpoint/open-node.ts';
export { loadConversation, saveConversation } from './generate/conversation-node.ts';
export type { MergeOptions, MergeResult, MergeSource } from './generate/merge-node.ts';
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
  /** Which model is meant, where the checkpoint holds several; the one that writes text, or the first, unless stated. */
  readonly part?: string;
  /** Threads of the runtime; all cores unless stated. */
  readonly threads?: number;
  /** Where prepared weights are kept; `$KEYHOLD_CACHE`, or `~/.cache/keyhold`, unless stated. */
  readonly cacheDir?: string;
  /** Revision, token, endpoint and so on, for a model from the hub. */
  readonly hub?: Omit<HubDownloadOptions, 'onProgress' | 'signal'>;
  /** Adapters of PEFT or LitGPT, merged into the weights or live beside them; several add up. */
  readonly adapters?: readonly AdapterSource[];
  readonly onProgress?: (progress: LoadProgress) => void;
  readonly signal?: AbortSignal;
}

/** An adapter on the disk, and what to do with it. */
export interface AdapterSource {
  /** Its folder, or its .safetensors file with the settings beside. */
  readonly path: string;
  /** 0 leaves the base as it is, 1 (unless stated) is what was trained. */
  readonly weight?: number;
  /** Keep it beside the weights, so that each request can choose; it is merged into them unless stated. */
  readonly live?: boolean;
  /** What requests call a live adapter; the name of its folder unless stated. */
  readonly name?: string;
}

/**
 * Loads a model.
 * @param model a folder or .safetensors file, a hub id (`org/name`), or a checkpoint that is open already.
 * @throws ConfigError, CheckpointError, TokenizerError, AdapterError: what is wrong with the files; HubError; WeightsError: prepared
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
      adapters: options.adapters?.map(({ path, weight, live, name }) => ({
        open: () => openAdapterFolder(path),
        weight,
        live: live ? { name: name ?? adapterName(path) } : undefined,
      })),
      reopen: typeof model === 'string' ? () => openModel(model, options) : undefined,
      part: options.part,
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
  return openCheckpointFolder(await locateModel(model, options));
}

/**
 * Merges adapters into a model and writes it as a checkpoint, which other libraries load too. It appears whole or not at all.
 * @param model as for {@link loadModel}.
 * @param out a folder that is not there yet, or is empty.
 * @throws AdapterError for adapters that do not fit, or whose changes no checkpoint of the family can hold; CheckpointError,
 * ConfigError for damaged files; InputError where `out` holds something; WeightsError where it can't be written; HubError.
 */
export async function mergeAdapter(
  model: string | Checkpoint,
  adapters: readonly MergeSource[],
  out: string,
  options: MergeOptions & Pick<LoadOptions, 'hub'> = {},
): Promise<MergeResult> {
  if (typeof model !== 'string') return mergeInto(model, null, adapters, out, options);
  const { hub, signal } = options;
  const folder = await locateModel(model, { hub, signal });
  const checkpoint = await openCheckpointFolder(folder);
  try {
    return await mergeInto(checkpoint, folder, adapters, out, options);
  } finally {
    await checkpoint.close();
  }
}

/** The folder or file of a model that is named by path or hub id. */
async function locateModel(model: string, options: LoadOptions): Promise<string> {
  if (model === '') throw new InputError('the name of the model is empty');
  const isPath = existsSync(model) || /^(\.{0,2}[/\\]|~|[A-Za-z]:)/.test(model) || model.split('/').length > 2;
  if (isPath) return model;
  const { onProgress, signal, hub } = options;
  return downloadFromHub(model, { ...hub, signal, onProgress: (p) => onProgress?.({ stage: 'download', ...p }) });
}
