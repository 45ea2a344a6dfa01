/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A model in a thread of its own: the program's event loop stays free while it computes.
 */
import { Worker } from 'node:worker_threads';
import type { Config } from '../config/config.ts';
import type { BatchOptions } from '../engine/batch.ts';
import type { ChatMessage } from '../engine/messages.ts';
import type { GenerateOptions, Prompt } from '../engine/options.ts';
import type { Source } from '../engine/request-queue.ts';
import type { ScoreOptions, ScoreResult } from '../engine/score.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { LoadOptions, LoadProgress } from '../load/load-model-node.ts';
import type { DecodeOptions, EncodeOptions } from '../tokenizer/tokenizer.ts';
import { InputError, WorkerError } from '../util/errors.ts';
import { TINY_MODEL } from '../util/shipped-node.ts';
import type { WeightFormat } from '../weights/types.ts';
import { exitFlags, waitForStep } from './exit-guard.ts';
import type { CacheRef, ModelFacts } from './protocol.ts';
import { Caller, type CallOptions } from './rpc.ts';
import type { Request, Response } from './wire.ts';
import { WorkerCache } from './worker-cache.ts';
import { WorkerBatch, type WorkerBatchRequest, WorkerGeneration } from './worker-generation.ts';

/** Options as of the library, with caches that live in the thread. */
type InWorker<T> = Omit<T, 'cache'> & { readonly cache?: WorkerCache | Partial<AnyCacheOptions> };
export type WorkerGenerateOptions = InWorker<GenerateOptions>;
export type WorkerScoreOptions = InWorker<ScoreOptions>;

/** Options of the thread, as `node:worker_threads` takes them. */
export interface ThreadOptions {
  readonly name?: string;
  readonly env?: Record<string, string | undefined>;
  readonly execArgv?: string[];
  readonly resourceLimits?: {
    readonly maxOldGenerationSizeMb?: number;
    readonly maxYoungGenerationSizeMb?: number;
    readonly codeRangeSizeMb?: number;
    readonly stackSizeMb?: number;
  };
}

export interface WorkerLoadOptions extends LoadOptions {
  readonly worker?: ThreadOptions;
}

/** What a model needs of its thread. Declared here, so that the package's types need none of Node's. */
interface EndableThread {
  terminate(): Promise<unknown>;
}

/**
 * Loads a model in a thread of its own.
 * @param model a folder or file, or a hub id.
 * @throws what loadModel throws; WorkerError where the thread crashes.
 */
export async function loadModelInWorker(
  model: string = TINY_MODEL,
  options: WorkerLoadOptions = {},
): Promise<WorkerModel> {
  const { worker: threadOptions, signal, onProgress, ...rest } = options;
  if (typeof model !== 'string') throw new InputError('a model in a worker is loaded by its path or name');
  signal?.throwIfAborted();
  const file = import.meta.url.endsWith('.ts') ? './from-sources.mjs' : './thread-node.js';
  const flags = exitFlags();
  const thread = new Worker(new URL(file, import.meta.url), { ...threadOptions, workerData: flags });
  const onExit = () => waitForStep(flags);
  process.on('exit', onExit);
  const caller = new Caller(thread as { postMessage(message: Request): void }, (busy) =>
    busy ? thread.ref() : thread.unref(),
  );
  thread.on('message', (response: Response) => caller.receive(response));
  thread.on('error', (cause) => {
    const message = `the thread of ${model} has crashed: ${cause instanceof Error ? cause.message : String(cause)}`;
    caller.end(new WorkerError(message, { cause }));
  });
  thread.on('exit', (code) => {
    process.off('exit', onExit);
    caller.end(new WorkerError(`the thread of ${model} has ended with code ${code}`));
  });
  try {
    const onEvent = (progress: LoadProgress) => onProgress?.(progress);
    const facts = await caller.call<ModelFacts>('load', { name: model, options: rest }, {
      signal,
      onEvent,
    } as CallOptions).done;
    return new WorkerModel(thread, caller, facts);
  } catch (error) {
    await thread.terminate();
    throw error;
  }
}

/**
 * A model in a thread of its own: what LanguageModel of the library does, with the same options, but for functions among them, which
 * can't go to another thread. Dispose of it (`dispose()`, or `await using`) to end the thread.
 */
export class WorkerModel {
  readonly name: string;
  readonly config: Config;
  readonly weights: WeightFormat;
  readonly fingerprint: string;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  readonly eosTokenIds: readonly number[];
  readonly hasTokenizer: boolean;
  readonly hasChatTemplate: boolean;
  readonly tokenizer: WorkerTokenizer;
  readonly #thread: EndableThread;
  readonly #caller: Caller;

  /** @internal */
  constructor(thread: EndableThread, caller: Caller, facts: ModelFacts) {
    this.#thread = thread;
    this.#caller = caller;
    this.tokenizer = new WorkerTokenizer(caller);
    this.name = facts.name;
    this.config = facts.config;
    this.weights = facts.weights;
    this.fingerprint = facts.fingerprint;
    this.generationConfig = facts.generationConfig;
    this.eosTokenIds = facts.eosTokenIds;
    this.hasTokenizer = facts.hasTokenizer;
    this.hasChatTemplate = facts.hasChatTemplate;
  }

  /** As `generate` of the library. @throws InputError for functions among the options, at once; all else by the iteration. */
  generate(prompt: Prompt, options: WorkerGenerateOptions = {}): WorkerGeneration {
    const { signal, onPrefill, ...rest } = options;
    const args = { prompt, options: plain(rest) };
    return new WorkerGeneration(this.#caller, 'generate', args, signal, onPrefill);
  }

  chat(messages: readonly ChatMessage[], options: WorkerGenerateOptions = {}): WorkerGeneration {
    return this.generate(messages, options);
  }

  /** As `generateBatch` of the library; requests are taken from their source when they fit. */
  generateBatch(requests: Source<WorkerBatchRequest | string>, options: BatchOptions = {}): WorkerBatch {
    const { signal, ...rest } = options;
    return new WorkerBatch(this.#caller, requests, plain(rest), signal, plain);
  }

  score(text: string | readonly number[], options: WorkerScoreOptions = {}): Promise<ScoreResult> {
    const { signal, onProgress, ...rest } = options;
    const onEvent = ({ prefill }: { readonly prefill: [number, number] }) => onProgress?.(...prefill);
    const call = { signal, onEvent } as CallOptions;
    return this.#caller.call<ScoreResult>('score', { text, options: plain(rest) }, call).done;
  }

  /** @throws InputError for options that the policy refuses, and for a policy of one's own, which is a function. */
  async createCache(options: Partial<AnyCacheOptions> = {}): Promise<WorkerCache> {
    const { cache } = plain({ cache: options });
    return new WorkerCache(this.#caller, await this.#caller.call<CacheRef>('createCache', { options: cache }).done);
  }

  /** A cache that was saved. @throws SnapshotError */
  async loadCache(path: string): Promise<WorkerCache> {
    return new WorkerCache(this.#caller, await this.#caller.call<CacheRef>('loadCache', { path }).done);
  }

  /** Ends the thread, once a step that is under way is done. The model can't be used afterwards. */
  async dispose(): Promise<void> {
    await this.#caller.call('release', {}).done.catch(() => undefined);
    this.#caller.end(new InputError('the model was disposed of and can not be used any more'));
    await this.#thread.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }
}

/** The tokenizer of a model in a thread. @throws InputError where the model has none. */
export class WorkerTokenizer {
  readonly #caller: Caller;

  /** @internal */
  constructor(caller: Caller) {
    this.#caller = caller;
  }

  encode(text: string, options: EncodeOptions = {}): Promise<number[]> {
    return this.#caller.call<number[]>('encode', { text, options }).done;
  }

  decode(ids: readonly number[], options: DecodeOptions = {}): Promise<string> {
    return this.#caller.call<string>('decode', { ids, options }).done;
  }
}

/** Options as they can go to another thread. @throws InputError for those that can't, by name. */
function plain<T extends object>(options: T): T {
  const entries = Object.entries(options).map(([key, value]) => {
    if (value instanceof WorkerCache) return [key, value.ref];
    refuseFunctions(key, value);
    return [key, value];
  });
  return Object.fromEntries(entries) as T;
}

function refuseFunctions(name: string, value: unknown): void {
  if (typeof value === 'function')
    throw new InputError(`${name} is a function, which can't go to another thread; use loadModel in this one`);
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  const made = value.constructor;
  if (made && ![Object, Array, Map, Set].includes(made as ObjectConstructor))
    throw new InputError(`${name} is a ${made.name}, which can't go to another thread`);
  for (const [key, inner] of Object.entries(value))
    refuseFunctions(Array.isArray(value) ? name : `${name}.${key}`, inner);
}
