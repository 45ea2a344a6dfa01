/**
 * @file Loads a model in a browser, in a worker of its own.
 */
import { loadRenderer } from '../chat/renderer.ts';
import { checkWeightChoice, type WeightChoice } from '../load/weights/weight-choice.ts';
import { InputError, WorkerError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { checkOptionNames, type OptionNames, shown } from '../util/option-names.ts';
import type { ModelFacts } from '../worker/protocol.ts';
import { Caller, type CallOptions } from '../worker/rpc.ts';
import type { Port, Request, Response } from '../worker/wire.ts';
import { WorkerModel } from '../worker/worker-model.ts';
import type { HubSource } from './hub-model.ts';
import type { FetchProgress } from './progress.ts';
import { SilenceWatch } from './silence.ts';
import type { FileSource } from './source.ts';
import type { Device, ThreadLoadOptions } from './thread.ts';

/** What {@link loadModel} reports while it works. */
export type LoadProgress =
  | ({ readonly stage: 'download' } & FetchProgress)
  /**
   * Weights are being prepared: bytes done, and bytes in all. Those of the hub are prepared while they are downloaded.
   */
  | { readonly stage: 'weights'; readonly bytes: number; readonly total: number };

/** Options of {@link loadModel}. */
export interface LoadOptions {
  /**
   * URL of the folder that files of ONNX Runtime are served from: ort-wasm-simd-threaded.wasm and .mjs; for WebGPU the
   * same with .jspi or .asyncify before their ends.
   */
  readonly runtimeFiles: string | URL;
  /** What computes: the processor, by WebAssembly, or a GPU, by WebGPU. @default 'wasm' */
  readonly device?: Device;
  /**
   * How matrices are stored and multiplied. `auto` with WebAssembly is float32 up to 150M parameters, int8 above; with
   * WebGPU float32 up to 100M, int8 up to 600M, int4 above. With WebAssembly int4 is 20 times slower than float32.
   * @default 'auto'
   */
  readonly weights?: WeightChoice;
  /** Which model of a checkpoint that holds several. @default the one that generates text */
  readonly part?: string;
  /**
   * Threads of the engine. A page that is not isolated (headers COOP and COEP) has one.
   * @default all cores but one, 4 at most
   */
  readonly threads?: number;
  /** Whether the model's generation_config.json counts where an option of `generate` is not given. @default true */
  readonly generationConfig?: boolean;
  /**
   * Makes the worker, for bundlers that do not understand `new Worker(new URL(…, import.meta.url))`: a module worker
   * whose script is `keyhold/web/worker`.
   */
  readonly worker?: () => Worker;
  /** Silence of a worker that has work, in milliseconds, after which it counts as stopped. @default 120000 */
  readonly silenceMs?: number;
  /** Told of the download and of the weights that are prepared. */
  readonly onProgress?: (progress: LoadProgress) => void;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
}

const LOAD_OPTIONS = {
  runtimeFiles: true,
  device: 'string',
  weights: 'string',
  part: 'string',
  threads: 'number',
  generationConfig: 'boolean',
  worker: 'function',
  silenceMs: 'number',
  onProgress: 'function',
  signal: 'signal',
} satisfies OptionNames<LoadOptions>;
const RENAMED = { dtype: 'weights', wasmPaths: 'runtimeFiles', progress: 'onProgress' } as const;

/** Files of a model: by name, or as an `<input type="file">` gives them. */
export type ModelFiles = ReadonlyMap<string, Blob> | Iterable<File>;

/**
 * A model of the Hugging Face hub. It is downloaded once; its prepared weights stay in the browser's storage, until
 * `deleteStoredModel`. A download that was broken off goes on where it was.
 */
export interface HubModelChoice {
  /** `org/name`, or a GGUF model: `org/name:Q4_K_M`, `org/name/file.gguf`. */
  readonly hub: string;
  /** Branch, tag or commit. @default 'main' */
  readonly revision?: string;
  /** Address of the hub. @default 'https://huggingface.co' */
  readonly endpoint?: string;
  /** An access token, for models that need one. */
  readonly token?: string;
}

const HUB_CHOICE = { hub: true, revision: true, endpoint: true, token: true } satisfies OptionNames<HubModelChoice>;
const HUB = 'https://huggingface.co';

/** What {@link LoadOptions.device} can be. */
export const DEVICES: readonly Device[] = ['wasm', 'webgpu'];
const MAX_THREADS = 4;
const SILENCE_MS = 120_000;

/** Browsers do not say why. */
const NO_SCRIPT =
  'its script could not be loaded. It needs the package onnxruntime-web, a bundler that makes a module worker of ' +
  'keyhold/web/worker (see the option worker), and a server that sends it as JavaScript';

/** What {@link loadModel} loads. */
export type ModelChoice = string | URL | ModelFiles | HubModelChoice;

/**
 * Loads a model in a worker.
 * @param model URL of a folder with a checkpoint or of a .gguf file, the files themselves, or a model of the hub.
 * @throws HubError, WeightsError: what a download or the browser's storage lacks; InputError for options out of range;
 * ConfigError, CheckpointError, TokenizerError: what is wrong with the files; MemoryError; WorkerError where the worker
 * can't be started or stops; the signal's reason.
 */
export async function loadModel(model: ModelChoice, options: LoadOptions): Promise<WorkerModel> {
  checkOptionNames('loadModel', options, LOAD_OPTIONS, RENAMED);
  const { signal, onProgress } = options;
  signal?.throwIfAborted();
  const request = threadOptions(model, options);
  const worker = (options.worker ?? defaultWorker)();
  const silenceMs = wholeNumber('silenceMs', options.silenceMs ?? SILENCE_MS);
  const end = (message: string, cause?: unknown) => {
    watch.watch(false);
    worker.terminate();
    caller.end(new WorkerError(message, { cause }));
  };
  const watch = new SilenceWatch(silenceMs, () =>
    end(`the worker of the model said nothing for ${silenceMs / 1000} s; the browser may have taken its memory away`),
  );
  const caller = new Caller(worker as Port<Request>, (busy) => watch.watch(busy));
  worker.onmessage = ({ data }: MessageEvent<readonly Response[]>) => {
    watch.heard();
    caller.receive(data);
  };
  worker.onerror = (event) => {
    event.preventDefault?.();
    end(`the worker of the model has crashed: ${event.message || NO_SCRIPT}`, event.error);
  };
  const close = () => {
    watch.watch(false);
    worker.terminate();
  };
  try {
    const call = { signal, onEvent: (progress: LoadProgress) => onProgress?.(progress) } as CallOptions;
    const facts = await caller.call<ModelFacts>('load', request, call).done;
    const resolveModule = (module: string | URL) => absolute(module);
    const renderer = await loadRenderer(facts.templates, facts.tokenizerConfig);
    return new WorkerModel({ terminate: close, resolveModule }, caller, facts, renderer);
  } catch (error) {
    close();
    throw error;
  }
}

/** Bundlers find the worker's script by exactly this expression. */
const defaultWorker = (): Worker => new Worker(new URL('./thread.ts', import.meta.url), { type: 'module' });

function threadOptions(model: ModelChoice, options: LoadOptions): ThreadLoadOptions {
  const { runtimeFiles, device = 'wasm', weights = 'auto', part, generationConfig } = options;
  if (!runtimeFiles)
    throw new InputError(
      'loadModel needs the option runtimeFiles: the URL of a folder with ort-wasm-simd-threaded.wasm and ' +
        'ort-wasm-simd-threaded.mjs, which the package onnxruntime-web has in its folder dist',
    );
  if (!DEVICES.includes(device))
    throw new InputError(`there is no device ${JSON.stringify(device)} in a browser; there are ${DEVICES.join(', ')}`);
  checkWeightChoice(weights);
  const folder = absolute(runtimeFiles);
  return {
    source: sourceOf(model),
    runtimeFiles: folder.endsWith('/') ? folder : `${folder}/`,
    device,
    threads: threadCount(options.threads),
    weights,
    part,
    generationConfig,
  };
}

function sourceOf(model: ModelChoice): FileSource | HubSource {
  if (typeof model === 'string' || model instanceof URL) {
    if (model === '') throw new InputError('the address of the model is empty');
    return { kind: 'folder', url: absolute(model) };
  }
  if (typeof model !== 'object' || model === null)
    throw new InputError(
      `the model must be a URL, files, or a name of the hub ({ hub: 'org/name' }), but is ${shown(model)}`,
    );
  if ('hub' in model) {
    checkOptionNames('the model of loadModel', model, HUB_CHOICE);
    const { hub, revision = 'main', endpoint = HUB, token } = model;
    // The browser may drop what it was not asked to keep; some ask the user.
    void navigator.storage?.persist?.().catch(() => false);
    return { kind: 'hub', hub, revision, endpoint: absolute(endpoint), token };
  }
  const files = new Map<string, Blob>();
  if (model instanceof Map) for (const [name, blob] of model) files.set(name, blob);
  else for (const file of model as Iterable<File>) files.set(file.webkitRelativePath || file.name, file);
  if (files.size === 0) throw new InputError('the model has no files');
  return { kind: 'files', name: 'files', files };
}

/**
 * How many threads compute. More threads than cores wait for each other; without isolation there is no memory that
 * threads could share.
 */
export function threadCount(threads?: number): number {
  const cores = navigator.hardwareConcurrency || 1;
  if (threads !== undefined) wholeNumber('threads', threads);
  if (!globalThis.crossOriginIsolated) return 1;
  return threads === undefined ? Math.max(1, Math.min(MAX_THREADS, cores - 1)) : Math.min(threads, cores);
}

const absolute = (url: string | URL): string => new URL(url, document.baseURI).href;
