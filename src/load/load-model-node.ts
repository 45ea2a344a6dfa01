/**
 * @file Loads a model in Node: from a folder, a file, the hub, or the package itself.
 */
import { adapterName, openAdapterFolder } from '../adapters/read/open-node.ts';
import { openCheckpointFolder } from '../checkpoint/open-node.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { HubDownloadOptions, HubProgress } from '../hub/hub-node.ts';
import { modelOrSmall } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { TINY_MODEL } from '../util/files/shipped-node.ts';
import { usableCores } from '../util/machine-node.ts';
import { wholeNumber } from '../util/numbers.ts';
import { checkOptionNames, checkOptionsObject, type OptionNames, shown } from '../util/option-names.ts';
import { keepStored } from '../weights/prepared/keep-stored.ts';
import { mapStored, withMapped } from '../weights/prepared/map-stored.ts';
import { hasPreparedWeights, openPreparedWeights } from '../weights/prepared/store-node.ts';
import type { WeightFormat } from '../weights/types.ts';
import { type MergeOptions, type MergeResult, type MergeSource, mergeInto } from './adapters/merge-node.ts';
import { calibrationFolder } from './calibration-folder-node.ts';
import { type DeviceName, type EngineName, openEngine } from './engines-node.ts';
import { type AssembleOptions, assembleModel } from './load.ts';
import { checkModelName, locateModel } from './locate-node.ts';
import { planModel } from './plan.ts';
import { keptFormats } from './weights/kept-formats.ts';
import { knownMix, mixedSpecs } from './weights/mixed-weights-node.ts';
import type { WeightChoice } from './weights/weight-choice.ts';

/** What {@link loadModel} reports while it works. */
export type LoadProgress =
  | ({ readonly stage: 'download' } & HubProgress)
  /**
   * Weights are being prepared: bytes written, and bytes in all. `note` is told once: the checkpoint is quantized
   * already, and what quantizing it anew costs.
   */
  | { readonly stage: 'weights'; readonly bytes: number; readonly total: number; readonly note?: string };

/** Options of `loadModel` and `loadEncoder`. */
export interface LoadOptions {
  /**
   * How matrices are stored and multiplied. `auto` is float32 up to 100M parameters, f16 up to 200M on ggml, else int8;
   * on ggml, blocks of a GGUF file stay as they are where products with them are as exact. Names of ggml's formats,
   * such as `q4_k`, need the ggml engine.
   * @default 'auto'
   */
  readonly weights?: WeightChoice;
  /**
   * Which model of a checkpoint that holds several.
   * @default the one that generates text, or else the first
   */
  readonly part?: string;
  /**
   * What computes the model. `onnx` needs the package onnxruntime-node.
   * @default `$KEYHOLD_ENGINE`, or `ggml`
   */
  readonly engine?: EngineName;
  /**
   * Where the ggml engine computes the model. Other devices than `cpu` need a package, which the error names where it
   * is missing.
   * @default `$KEYHOLD_DEVICE`, or `cpu`
   */
  readonly device?: DeviceName;
  /**
   * Threads of the engine.
   * @default all cores
   */
  readonly threads?: number;
  /**
   * Whether the model's generation_config.json counts where an option of `generate` is not given.
   * @default true
   */
  readonly generationConfig?: boolean;
  /**
   * Folder of prepared weights.
   * @default `$KEYHOLD_CACHE`, or `~/.cache/keyhold`
   */
  readonly cacheDir?: string;
  /** Revision, token, endpoint and so on, for a model from the hub. */
  readonly hub?: Omit<HubDownloadOptions, 'onProgress' | 'signal'>;
  /** Adapters of PEFT or LitGPT, merged into the weights or live beside them; several add up. */
  readonly adapters?: readonly AdapterSource[];
  /** Told of the download and of the weights that are prepared. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

/** What other libraries call these options. */
export const RENAMED = {
  dtype: 'weights',
  quantization: 'weights',
  progress: 'onProgress',
  abortSignal: 'signal',
  offline: 'hub: { offline }',
  revision: 'hub: { revision }',
  token: 'hub: { token }',
  numThreads: 'threads',
  cache_dir: 'hub: { cacheDir }',
  progress_callback: 'onProgress',
  local_files_only: 'hub: { offline }',
  gpuLayers: 'device',
} as const;
export const LOAD_OPTIONS = {
  weights: 'string',
  part: 'string',
  threads: 'number',
  generationConfig: 'boolean',
  engine: 'string',
  device: 'string',
  cacheDir: 'string',
  hub: 'object',
  adapters: 'list',
  onProgress: 'function',
  signal: 'signal',
} satisfies OptionNames<LoadOptions>;

/** An adapter on the disk, and what to do with it. */
export interface AdapterSource {
  /** Its folder, or its .safetensors file with the settings beside it. */
  readonly path: string;
  /**
   * 0 leaves the base model as it is, 1 is what was trained.
   * @default 1
   */
  readonly weight?: number;
  /**
   * Keep it beside the weights, so that each request can choose it, instead of merging it into them.
   * @default false
   */
  readonly live?: boolean;
  /**
   * Name of a live adapter in requests.
   * @default the name of its folder
   */
  readonly name?: string;
}

/** Loads `keyhold/tiny`, the small model that ships with the package. */
export function loadModel(): Promise<LanguageModel>;
/**
 * Loads a model that generates text.
 * @param model a folder, a .safetensors or .gguf file, a hub id (`org/name`, `org/name:Q4_K_M`), `keyhold/tiny` (the
 * small model that ships with the package), or an open checkpoint, which stays the caller's to close.
 * Without arguments, the small one.
 * @throws InputError for a wrong name or option, also for a name that is undefined; ConfigError, CheckpointError,
 * TokenizerError, AdapterError: what is wrong with the files; HubError; EngineError where the engine or device can't be used on this machine; WeightsError:
 * prepared weights can't be stored; the signal's reason.
 * @example
 * ```ts
 * import { loadModel } from 'keyhold';
 *
 * const model = await loadModel('Qwen/Qwen3-0.6B', { weights: 'int8' });
 * const cache = { policy: 'lastrec', cacheLength: 512 };
 * for await (const { text } of model.generate('The sea is', { cache, maxNewTokens: 20 })) process.stdout.write(text);
 * await model.dispose();
 * ```
 */
export function loadModel(model: string | Checkpoint, options?: LoadOptions): Promise<LanguageModel>;
export async function loadModel(
  ...given: [model?: string | Checkpoint, options?: LoadOptions]
): Promise<LanguageModel> {
  const model = modelOrSmall('loadModel', given, TINY_MODEL);
  const [, options = {}] = given;
  checkOptionNames('loadModel', options, LOAD_OPTIONS, RENAMED);
  return assembleFrom(model, options, assembleModel);
}

/** @throws InputError for what is neither a name nor an open checkpoint. */
function checkModel(model: unknown): void {
  if (typeof model === 'string' || (typeof model === 'object' && model !== null && 'tensors' in model)) return;
  if (model instanceof URL) checkModelName(model.href);
  throw new InputError(`the model must be a folder, a file, a hub id or an open checkpoint, but is ${shown(model)}`);
}

const ADAPTER_OPTIONS: OptionNames<AdapterSource> = {
  path: 'string',
  weight: 'number',
  live: 'boolean',
  name: 'string',
};

/** @throws InputError for an adapter without a path. */
function checkAdapters(adapters: readonly AdapterSource[]): void {
  for (const [i, adapter] of adapters.entries()) {
    if (typeof adapter === 'string') throw new InputError(`adapters[${i}] must be { path: ${shown(adapter)} }`);
    checkOptionNames(`adapters[${i}]`, adapter, ADAPTER_OPTIONS);
    if (adapter.path === undefined) throw new InputError(`adapters[${i}] has no path: the folder of the adapter`);
  }
}

/** Opens an engine and a checkpoint, and has a model made of them; what the model does not need any more is closed. */
export async function assembleFrom<T>(
  model: string | Checkpoint,
  options: LoadOptions,
  assemble: (options: AssembleOptions) => Promise<T>,
): Promise<T> {
  const { onProgress, signal, cacheDir } = options;
  signal?.throwIfAborted();
  checkModel(model);
  checkAdapters(options.adapters ?? []);
  const engine = openEngine(options.engine, options.device);
  // It is not waited for where the checkpoint can't be opened.
  engine.catch(() => undefined);
  const checkpoint = typeof model === 'string' ? await openCheckpoint(model, options, engine) : model;
  try {
    const backend = await engine;
    return await assemble({
      checkpoint,
      backend,
      weights: options.weights,
      adapters: options.adapters?.map(({ path, weight, live, name }) => ({
        open: () => openAdapterFolder(path),
        weight,
        live: live ? { name: name ?? adapterName(path) } : undefined,
      })),
      openAdapter: openAdapterFolder,
      reopen: typeof model === 'string' ? reopener(model, options) : undefined,
      part: options.part,
      threads: boundThreads(options.threads),
      generationConfig: options.generationConfig,
      calibrations: calibrationFolder(cacheDir),
      preparesMeanwhile: true,
      prepare: async (asked, { meanwhile, ...model }) => {
        const isMixed = asked.format === 'int4' && backend.codec.mixes === true;
        const threads = boundThreads(options.threads);
        const mix = { request: asked, ...model, backend, threads, cacheDir, signal };
        const request = isMixed ? { ...asked, specs: await mixedSpecs(mix) } : asked;
        const { codec } = backend;
        const specs = keepStored(
          request.specs,
          request.source,
          codec,
          keptFormats(options.weights, request.format, codec),
        );
        const isKept = specs.some(({ stored }) => stored !== undefined);
        const { mapped, rest } = mapStored(specs, request.source, codec);
        let note = ['float32', 'f16'].includes(request.format) || isKept ? undefined : checkpoint.note;
        const prepared = await openPreparedWeights({
          ...request,
          specs: rest,
          label: checkpoint.name,
          codec,
          cacheDir,
          signal,
          meanwhile,
          onProgress(p) {
            onProgress?.({ stage: 'weights', ...p, ...(note === undefined ? {} : { note }) });
            note = undefined;
          },
        });
        return withMapped(prepared, mapped);
      },
    });
  } finally {
    if (typeof model === 'string') await checkpoint.close();
  }
}

/** Opens a model's checkpoint again. A function of its own: a model refers to it, and not to the open checkpoint. */
const reopener = (model: string, options: LoadOptions) => () => openCheckpoint(model, options);

/**
 * The formats in which a model's weights, without adapters, are prepared already.
 * @throws as {@link openCheckpoint} and planModel do.
 */
export async function preparedFormats(model: string, options: LoadOptions = {}): Promise<readonly WeightFormat[]> {
  checkOptionsObject('preparedFormats', options);
  const { target, codec } = await openEngine(options.engine, 'cpu');
  const checkpoint = await openCheckpoint(model, options);
  try {
    const formats: WeightFormat[] = [];
    for (const format of ['float32', 'int8', 'int4'] as const) {
      const { params } = planModel(checkpoint, format, options.part, target);
      const { cacheDir } = options;
      const isMixed = format === 'int4' && codec.mixes === true;
      const mix = { specs: params, identity: checkpoint.identity };
      const specs = isMixed ? ((await knownMix(mix, cacheDir)) ?? params) : params;
      if (await hasPreparedWeights({ specs, format, identity: checkpoint.identity, cacheDir, codec }))
        formats.push(format);
    }
    return formats;
  } finally {
    await checkpoint.close();
  }
}

/**
 * Opens a checkpoint by path, hub id or shipped name, as {@link loadModel} takes it. Downloads it if it is not there yet.
 * @param first a promise that a download waits for, such as that of an engine: if it is rejected, nothing is downloaded.
 * @throws InputError for a name that can't be one; CheckpointError, HubError; what `first` is rejected with.
 */
export async function openCheckpoint(
  model: string,
  options: LoadOptions = {},
  first?: Promise<unknown>,
): Promise<Checkpoint> {
  checkOptionsObject('openCheckpoint', options);
  return openCheckpointFolder(await locateModel(model, options, first), model);
}

/**
 * Merges adapters into a model and writes it as a checkpoint, which other libraries load too. It appears whole or not
 * at all.
 * @param model as for {@link loadModel}.
 * @param out a folder that does not exist yet, or is empty.
 * @throws AdapterError for adapters that do not fit, or whose changes no checkpoint of the family can hold;
 * CheckpointError, ConfigError for damaged files; InputError for no adapter, or an `out` that is not empty;
 * WeightsError if it can't be written; HubError.
 * @example
 * ```ts
 * import { TINY_ADAPTER, TINY_MODEL } from 'keyhold';
 * import { mergeAdapters } from 'keyhold/adapters';
 *
 * const { folder, bytes } = await mergeAdapters(TINY_MODEL, [{ path: TINY_ADAPTER }], 'tiny-jargon-merged');
 * console.log(folder, bytes);
 * ```
 */
export async function mergeAdapters(
  model: string | Checkpoint,
  adapters: readonly MergeSource[],
  out: string,
  options: MergeOptions & Pick<LoadOptions, 'hub'> = {},
): Promise<MergeResult> {
  checkOptionsObject('mergeAdapters', options);
  if (typeof model === 'object' && model !== null) return mergeInto(model, null, adapters, out, options);
  const { hub, signal } = options;
  const folder = await locateModel(model, { hub, signal });
  const checkpoint = await openCheckpointFolder(folder);
  try {
    return await mergeInto(checkpoint, folder, adapters, out, options);
  } finally {
    await checkpoint.close();
  }
}

/**
 * More threads than cores only wait for each other, and tens of thousands of them bring a machine down.
 * @throws InputError
 */
function boundThreads(threads: number | undefined): number | undefined {
  return threads === undefined ? undefined : Math.min(wholeNumber('threads', threads), usableCores());
}
