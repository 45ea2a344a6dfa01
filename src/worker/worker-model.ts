/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A model in a thread of its own, as the program holds it. It runs in Node and in browsers.
 */

import type { Config } from '../config/config.ts';
import type { Source } from '../engine/batch/request-queue.ts';
import type { CalibrateOptions } from '../engine/calibration/calibrate.ts';
import type { GenerationDefaults } from '../engine/defaults.ts';
import { type ChatMessage, checkChat, type MessageRenderer, type MessageTemplate } from '../engine/messages.ts';
import type { BatchOptions, BatchRequest, GenerateOptions, Prompt, ScoreOptions } from '../engine/options.ts';
import type { ScoreResult } from '../engine/score.ts';
import { checkSaved, type RestoreOptions, type TextModel } from '../engine/text-model.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { CalibrationTable } from '../kvcache/routing/calibration-table.ts';
import { checkArgument } from '../util/arguments.ts';
import { disposedError } from '../util/disposed.ts';
import { InputError } from '../util/errors.ts';
import { INSPECT, inspected } from '../util/inspected.ts';
import { checkOptionsObject } from '../util/option-names.ts';
import { refuseRetired } from '../util/retired.ts';
import type { WeightFormat } from '../weights/types.ts';
import { moduleUrls, type PlainContext, plain } from './plain.ts';
import type { ModelFacts } from './protocol.ts';
import type { Caller, CallOptions } from './rpc.ts';
import { Transfer } from './wire.ts';
import { WorkerCache } from './worker-cache.ts';
import { WorkerBatch, WorkerGeneration } from './worker-generation.ts';
import { WorkerAdapters, WorkerTokenizer } from './worker-parts.ts';

export type WorkerGenerateOptions = GenerateOptions<WorkerCache>;
export type WorkerScoreOptions = ScoreOptions<WorkerCache>;
export type WorkerBatchRequest = BatchRequest<WorkerCache>;

/** What a model needs of its thread. */
export interface ModelThread {
  terminate(): unknown;
  /** The URL of a module that is named by its path. */
  resolveModule(module: string | URL): string;
}

/**
 * A model in a thread of its own: what `LanguageModel` does, with the same options, without functions among them, which
 * can't go to another thread. Dispose of it (`dispose()`, or `await using`) to end the thread.
 */
export class WorkerModel implements TextModel<WorkerCache> {
  readonly name: string;
  readonly config: Config;
  readonly weights: WeightFormat;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  readonly defaults: GenerationDefaults;
  readonly eosTokenIds: readonly number[];
  readonly answerEnds: readonly number[];
  readonly hasTokenizer: boolean;
  readonly tokenizer: WorkerTokenizer;
  readonly adapters: WorkerAdapters;
  /** @internal */
  readonly renderer: MessageRenderer;
  readonly #thread: ModelThread;
  readonly #caller: Caller;
  readonly #context: PlainContext;

  /** @internal */
  constructor(thread: ModelThread, caller: Caller, facts: ModelFacts, renderer: MessageRenderer) {
    this.#thread = thread;
    this.#caller = caller;
    this.#context = { caller, resolveModule: (module) => thread.resolveModule(module) };
    this.tokenizer = new WorkerTokenizer(caller);
    this.adapters = new WorkerAdapters(caller, facts.adapters);
    this.name = facts.name;
    this.config = facts.config;
    this.weights = facts.weights;
    this.generationConfig = facts.generationConfig;
    this.defaults = facts.defaults;
    this.eosTokenIds = facts.eosTokenIds;
    this.answerEnds = facts.answerEnds;
    this.hasTokenizer = facts.hasTokenizer;
    this.renderer = renderer;
  }

  get fingerprint(): string {
    return this.adapters.fingerprint;
  }

  /** It renders in this thread. */
  get chatTemplate(): MessageTemplate | null {
    return this.renderer.template;
  }

  /**
   * As `generate` of `LanguageModel`.
   * @throws InputError for functions among the options, at once; all else by the iteration.
   */
  generate(prompt: Prompt, options: WorkerGenerateOptions = {}): WorkerGeneration {
    checkOptionsObject('generate', options);
    const { signal, onPrefill, ...rest } = options;
    const args = { prompt, options: plain(rest, this.#context) };
    return new WorkerGeneration(this.#caller, args, signal, onPrefill);
  }

  chat(messages: readonly ChatMessage[], options: WorkerGenerateOptions = {}): WorkerGeneration {
    return this.generate(checkChat(messages), options);
  }

  /** As `generateBatch` of `LanguageModel`; requests are taken from their source when they fit. */
  generateBatch(requests: Source<WorkerBatchRequest | string>, options: BatchOptions = {}): WorkerBatch {
    checkOptionsObject('generateBatch', options);
    const { signal, ...rest } = options;
    return new WorkerBatch(this.#context, requests, plain(rest, this.#context), signal);
  }

  async score(text: string | readonly number[], options: WorkerScoreOptions = {}): Promise<ScoreResult> {
    checkOptionsObject('score', options);
    const { signal, onProgress, ...rest } = options;
    const onEvent = ({ prefill }: { readonly prefill: [number, number] }) => onProgress?.(...prefill);
    const call = { signal, onEvent } as CallOptions;
    return this.#caller.call<ScoreResult>('score', { text, options: plain(rest, this.#context) }, call).done;
  }

  async calibrate(options: CalibrateOptions = {}): Promise<CalibrationTable> {
    checkOptionsObject('calibrate', options);
    const { signal, onProgress, ...rest } = options;
    const onEvent = ({ prefill }: { readonly prefill: [number, number] }) => onProgress?.(...prefill);
    const call = { signal, onEvent } as CallOptions;
    return this.#caller.call<CalibrationTable>('calibrate', { options: rest }, call).done;
  }

  /**
   * @param options `policyModule` names a module with a policy of your own.
   * @throws InputError for options that the policy refuses, and for a policy that is an object with functions.
   */
  async createCache(options: Partial<AnyCacheOptions> = {}): Promise<WorkerCache> {
    checkOptionsObject('createCache', options);
    const { cache, made } = this.#create(options);
    await made;
    return cache;
  }

  /** @internal */
  resolveCache(cache: WorkerCache | Partial<AnyCacheOptions> = {}): WorkerCache {
    return cache instanceof WorkerCache ? cache : this.#create(cache).cache;
  }

  async snapshot(cache: WorkerCache): Promise<Uint8Array> {
    checkArgument('snapshot', 'a cache, as createCache gives it', cache, cache instanceof WorkerCache);
    return this.#caller.call<Uint8Array>('snapshot', { cache: cache.refFor(this.#caller) }).done;
  }

  /**
   * @throws SnapshotError for bytes that are torn, or of something else; InputError for a policy that is not in a
   * module.
   */
  async restore(bytes: Uint8Array, options: RestoreOptions = {}): Promise<WorkerCache> {
    checkSaved(bytes);
    checkOptionsObject('restore', options);
    const { policy, policyModule, transfer = false } = options;
    if (policy !== undefined)
      throw new InputError("a policy's functions can't go to another thread: name its module with policyModule");
    const cache = new WorkerCache(this.#caller);
    const { value, buffers } = transfer ? Transfer.ofBytes(bytes) : new Transfer(bytes, []);
    const module = policyModule === undefined ? undefined : moduleUrls(policyModule, this.#context.resolveModule);
    const args = { cache: cache.ref, bytes: value, policyModule: module };
    await this.#caller.call('restore', args, { transfer: buffers }).done;
    return cache;
  }

  /** Ends the thread, once a step that is under way is done. The model can't be used afterwards. */
  async dispose(): Promise<void> {
    await this.#caller.call('dispose', {}).done.catch(() => undefined);
    this.#caller.end(disposedError('model'));
    await this.#thread.terminate();
  }

  /** @deprecated {@link dispose} */
  release(): never {
    return refuseRetired('release()', 'dispose()');
  }

  /** @internal */
  [INSPECT](): string {
    const { name, config, weights } = this;
    return inspected('WorkerModel', { name, family: config.name, weights, contextLength: config.contextLength });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #create(given: Partial<AnyCacheOptions>): { cache: WorkerCache; made: Promise<void> } {
    const { cache: options } = plain({ cache: given }, this.#context);
    const cache = new WorkerCache(this.#caller);
    return { cache, made: this.#caller.call<void>('createCache', { cache: cache.ref, options }).done };
  }
}
