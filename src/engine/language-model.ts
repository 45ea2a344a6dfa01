/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file A loaded model in this thread.
 */

import type { AdapterChoice, AdapterOptions } from '../adapters/choice.ts';
import type { AdapterRegistry } from '../adapters/registry.ts';
import type { Config } from '../config/config.ts';
import { resolveCacheBytes } from '../kvcache/byte-budget.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { type AnyCacheOptions, createCache, wantsTable } from '../kvcache/policies.ts';
import type { CalibrationTable } from '../kvcache/routing/calibration-table.ts';
import type { StepAdapters, StepOptions, StepResult } from '../step/step-types.ts';
import type { Stepper } from '../step/stepper.ts';
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { checkList } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { INSPECT, inspected } from '../util/inspected.ts';
import { checkOptionsObject, isList } from '../util/option-names.ts';
import { refuseRetired } from '../util/retired.ts';
import { Serial } from '../util/serial.ts';
import type { WeightFormat } from '../weights/types.ts';
import { BatchGeneration } from './batch/batch.ts';
import type { Source } from './batch/request-queue.ts';
import type { CalibrateOptions } from './calibration/calibrate.ts';
import { type CalibrationStore, Calibrations } from './calibration/calibrations.ts';
import { type GenerationDefaults, generationDefaults } from './defaults.ts';
import { Generation } from './generation.ts';
import { answerEnds, type ChatMessage, checkChat, type MessageRenderer, type MessageTemplate } from './messages.ts';
import type { DecoderModel } from './model.ts';
import type { BatchOptions, BatchRequest, GenerateOptions, Prompt, ScoreOptions } from './options.ts';
import { checkCache, optionsOf, requestOf, resolveCache } from './prompt.ts';
import { type PrefillOptions, type PrefillStep, prefill, prefillSteps } from './schedule/prefill.ts';
import { Scheduler } from './schedule/scheduler.ts';
import { type ScoreResult, scoreText } from './score.ts';
import { checkSaved, type RestoreOptions, type TextModel } from './text-model.ts';

const NO_MODULE = 'policyModule is for models in workers: import the policy here, and give it as policy';

/** What the parts of a model are put together from. */
export interface LanguageModelParts {
  readonly name: string;
  readonly stepper: Stepper;
  /** Where the model is one. */
  readonly tokenizer: Tokenizer | null;
  readonly renderer: MessageRenderer;
  readonly format: WeightFormat;
  /** Says which weights these are, and in what format. */
  readonly fingerprint: string;
  /** generation_config.json, or nothing. */
  readonly generationConfig: Readonly<Record<string, unknown>>;
  /** Whether it counts where an option is not given. */
  readonly usesGenerationConfig: boolean;
  readonly adapters: AdapterRegistry;
  /** Says which checkpoint it is, with merged adapters: calibrations belong to it. */
  readonly checkpoint: string;
  /** Where calibrations are kept; null: in memory. */
  readonly calibrations: CalibrationStore | null;
}

/**
 * A model that is ready to run. Dispose of it (`await using`, or `dispose()`) to give its native memory back.
 */
export class LanguageModel implements DecoderModel, TextModel<KVCache> {
  /** Folder, file or hub id. */
  readonly name: string;
  /** What the model is: its layers, sizes and context. */
  readonly config: Config;
  /** The format of its matrices. */
  readonly weights: WeightFormat;
  /** generation_config.json as it is; empty where there is none. */
  readonly generationConfig: Readonly<Record<string, unknown>>;
  /** The options of generation_config.json that count where none is given. */
  readonly defaults: GenerationDefaults;
  /** The live adapters: more can be loaded, and each step chooses among them. */
  readonly adapters: AdapterRegistry;
  /** @internal */
  readonly renderer: MessageRenderer;
  /** Tokens at which it ends, by config.json and generation_config.json. */
  readonly eosTokenIds: readonly number[];
  readonly #fingerprint: string;
  readonly #stepper: Stepper;
  readonly #tokenizer: Tokenizer | null;
  readonly #scheduler: Scheduler;
  readonly #calibrations: Calibrations;
  /** Done when no step is under way. */
  readonly #serial = new Serial();

  constructor(parts: LanguageModelParts) {
    this.name = parts.name;
    this.config = parts.stepper.config;
    this.weights = parts.format;
    this.adapters = parts.adapters;
    this.renderer = parts.renderer;
    this.#fingerprint = parts.fingerprint;
    this.generationConfig = parts.generationConfig;
    this.#stepper = parts.stepper;
    this.#tokenizer = parts.tokenizer;
    this.#scheduler = new Scheduler(this);
    this.#calibrations = new Calibrations(this, parts.checkpoint, parts.calibrations);
    const { eosTokenIds = [], ...defaults } = generationDefaults(parts.generationConfig);
    this.eosTokenIds = [...new Set([...this.config.eosTokenIds, ...eosTokenIds])];
    this.defaults = parts.usesGenerationConfig ? defaults : {};
  }

  /** Says which weights these are, in what format, and which adapters are the default: saved caches belong to it. */
  get fingerprint(): string {
    return this.#fingerprint + this.adapters.fingerprint;
  }

  /** The checkpoint's tokenizer. @throws InputError where it has none. */
  get tokenizer(): Tokenizer {
    if (!this.#tokenizer)
      throw new InputError(`${this.name} has no tokenizer.json: pass token ids instead of text, or add the file`);
    return this.#tokenizer;
  }

  /** Tokens at which an answer ends: the model's, and the tokenizer's end of a text. */
  get answerEnds(): readonly number[] {
    return answerEnds(this);
  }

  /** How the model wants messages rendered; null: it was not made for conversations. */
  get chatTemplate(): MessageTemplate | null {
    return this.renderer.template;
  }

  /** Whether there is a tokenizer. */
  get hasTokenizer(): boolean {
    return this.#tokenizer !== null;
  }

  /**
   * A cache for this model. Without options it is dense and as long as the model's context; with a `cacheLength` alone
   * it keeps the most recent tokens (`lastrec`), as with `cacheBytes`, which become a cacheLength and a buffer.
   * @throws InputError for options that the policy refuses, or `cacheBytes` that no cache keeps within; after
   * {@link dispose}.
   * @example
   * ```ts
   * import { loadModel } from 'keyhold';
   *
   * const model = await loadModel();
   * const cache = model.createCache({ policy: 'h2o', cacheLength: 128, buffer: 'int8' });
   * await model.generate('And it came to pass', { cache, maxNewTokens: 200 }).text();
   * console.log(cache.stats(), cache.memory());
   * await model.dispose();
   * ```
   */
  createCache(options: Partial<AnyCacheOptions> = {}): KVCache {
    this.#stepper.checkUsable();
    checkOptionsObject('createCache', options);
    const { cacheLength, cacheBytes } = options;
    const policy = options.policy ?? (cacheLength === undefined && cacheBytes === undefined ? 'dense' : 'lastrec');
    const shape = this.#stepper.cacheShape;
    const given = {
      ...options,
      policy,
      ...(this.#lacksTable(options) ? { table: this.#calibrations.latest ?? undefined } : {}),
    };
    return createCache(shape, resolveCacheBytes(shape, given, this.config.contextLength));
  }

  /** @internal */
  resolveCache(cache: GenerateOptions['cache']): KVCache {
    return resolveCache(this, cache);
  }

  /**
   * Runs the model on one chunk: one list of token ids for each row of the cache.
   * @throws InputError for token ids, rows or positions that do not fit; CacheFullError before anything is computed;
   * CacheBusyError while a run has the cache.
   */
  step(
    cache: KVCache,
    chunk: readonly ArrayLike<number>[],
    options: StepOptions & AdapterOptions = {},
  ): Promise<StepResult> {
    return this.#serial.run(async () => {
      checkCache('step', cache);
      checkList('step', 'a list of token ids for each row of the cache', chunk, isList);
      checkOptionsObject('step', options);
      const lease = options.lease ?? cache.acquire('a step');
      try {
        return await this.#stepper.step(cache, chunk, { ...options, lease }, this.#adaptersOf(cache.batch, options));
      } finally {
        if (!options.lease) lease.release();
      }
    });
  }

  /**
   * Gives a row of a cache what the model's cross-attention layers attend to (an image's states), in place of what it
   * had.
   * @param states [count, width], row-major; the config's `cross.width`.
   * @throws InputError where the model has no such layers, or the numbers do not fit.
   */
  setCrossAttentionStates(cache: KVCache, states: Float32Array, row = 0): Promise<void> {
    return this.#serial.run(async () => {
      checkCache('setCrossAttentionStates', cache);
      await this.#stepper.setCrossAttentionStates(cache, states, row);
    });
  }

  /** The matrix that a layer's attention is projected with, transposed; null where it is no single matrix. @internal */
  projection(layer: number): Promise<Float32Array | null> {
    return this.#serial.run(() => this.#stepper.projection(layer));
  }

  /**
   * Measures how much of the past each query group reads, which the policy `routed` distributes its slots by. It is
   * done once for each checkpoint and texts: what was measured is kept beside the prepared weights.
   * @throws InputError for a model none of whose layers attends to the whole past, or texts that are too short; the
   * signal's reason.
   */
  async calibrate(options: CalibrateOptions = {}): Promise<CalibrationTable> {
    checkOptionsObject('calibrate', options);
    return this.#calibrations.get(options);
  }

  /**
   * Makes sure that caches of these options can be made: the policy `routed` needs a calibration, which is measured
   * where there is none.
   * @param given `start` is called before something is measured.
   */
  async calibrateFor(
    options: Partial<AnyCacheOptions> | undefined,
    given: CalibrateOptions & { readonly start?: () => void } = {},
  ): Promise<void> {
    checkOptionsObject('calibrateFor', given);
    const { start, ...calibrate } = given;
    if (!options || !this.#lacksTable(options)) return;
    await this.#calibrations.open(calibrate, start);
  }

  #lacksTable(options: Partial<AnyCacheOptions>): boolean {
    return options.table === undefined && options.routes === undefined && wantsTable(options);
  }

  /** Compiles what steps with this cache run on, so that the first step is not slower than the others. */
  prepare(cache: KVCache, options: AdapterOptions = {}): Promise<void> {
    return this.#serial.run(async () => {
      checkCache('prepare', cache);
      checkOptionsObject('prepare', options);
      await this.#stepper.prepare(cache, this.#adaptersOf(cache.batch, options));
    });
  }

  /**
   * Takes tokens into a cache of one row, in chunks.
   * @returns the logits asked for, all chunks' behind each other.
   * @throws InputError for an empty prompt; CacheFullError before anything is computed where it can't fit.
   */
  async prefill(cache: KVCache, tokens: ArrayLike<number>, options: PrefillOptions = {}): Promise<Float32Array> {
    checkCache('prefill', cache);
    return prefill(this, cache, tokens, options);
  }

  /** The same, a chunk whenever the next one is asked for, with the logits of its tokens that are wanted. */
  prefillSteps(
    cache: KVCache,
    tokens: ArrayLike<number>,
    options: PrefillOptions = {},
  ): AsyncGenerator<PrefillStep, void, undefined> {
    checkCache('prefillSteps', cache);
    return prefillSteps(this, cache, tokens, options);
  }

  /** Whether keys of a sequence that grows from one length to another stay rotated as it wants them. @internal */
  ropeFits(from: number, to: number): boolean {
    return this.#stepper.ropeFits(from, to);
  }

  /**
   * How many tokens one decoding step may take in, up to `most`, and still compute what steps of one token would. It
   * ends where the policy would evict a token before the last of them came, and where keys would have to be rotated
   * otherwise.
   * @param exact false: tokens may be evicted within the step.
   * @internal
   */
  stepLimit(cache: KVCache, row: number, most: number, exact: boolean): number {
    const length = cache.length(row);
    if (!this.ropeFits(length, length + most)) return 1;
    // What goes after the last token has come was seen by all.
    const headroom = cache.rules.evicts ? (exact ? cache.headroom(row) + 1 : most) : cache.headroom(row);
    const ends = cache.rules.evicts || this.config.position === 'learned';
    const positions = ends ? this.config.contextLength - cache.ropePosition(row) : most;
    return Math.max(1, Math.min(most, headroom, positions));
  }

  /**
   * Generates text that goes on from a prompt, or that answers messages. Runs at the same time share their steps.
   * @param prompt text, token ids (which are taken as they are), or messages.
   * @throws InputError for options out of range, at once; other errors are thrown by the iteration.
   * @example
   * ```ts
   * import { loadModel } from 'keyhold';
   *
   * const model = await loadModel();
   * const run = model.generate('And it came to pass', { temperature: 0.8, seed: 4, maxNewTokens: 20 });
   * for await (const { text } of run) process.stdout.write(text);
   * console.log((await run.result()).finishReason);
   * await model.dispose();
   * ```
   */
  generate(prompt: Prompt, options: GenerateOptions = {}): Generation {
    return new Generation(this.#scheduler, this, requestOf(prompt, options));
  }

  /**
   * Generates several texts in one stream of events; see `BatchGeneration`.
   * @param requests prompts, or requests with options of their own: a list, or a source that gives more of them in
   * time.
   * @throws InputError for options of the batch out of range, at once; an event tells what is wrong with a request.
   */
  generateBatch(requests: Source<BatchRequest | string>, options: BatchOptions = {}): BatchGeneration {
    return new BatchGeneration(this.#scheduler, this, requests, options);
  }

  /**
   * Answers messages, as {@link generate} does with messages as its prompt. With `reusePrefix` and a cache that has
   * seen the conversation so far, only what is new is computed; see {@link Conversation}, which does that.
   * @throws InputError for a model without a chat template, messages that it does not take, options out of range.
   */
  chat(messages: readonly ChatMessage[], options: GenerateOptions = {}): Generation {
    return this.generate(checkChat(messages), options);
  }

  /**
   * Tells how likely each token of a text is after those before it. Where the tokenizer puts a special token before
   * texts, that is the first, and all of the text has a probability.
   * @throws InputError for an empty text; CacheFullError.
   */
  async score(text: string | readonly number[], options: ScoreOptions = {}): Promise<ScoreResult> {
    checkOptionsObject('score', options);
    await this.calibrateFor(optionsOf(options.cache), { signal: options.signal });
    return scoreText(this, text, options);
  }

  /** A cache as bytes, for {@link restore}. @throws InputError for what is no cache. */
  async snapshot(cache: KVCache): Promise<Uint8Array> {
    checkCache('snapshot', cache);
    const { snapshotCache } = await import('../kvcache/snapshot.ts');
    return snapshotCache(cache, this.fingerprint);
  }

  /**
   * The cache that {@link snapshot} saved. It continues as the original would.
   * @throws SnapshotError for bytes that are torn, or of something else; InputError after {@link dispose}.
   */
  async restore(bytes: Uint8Array, options: RestoreOptions = {}): Promise<KVCache> {
    checkSaved(bytes);
    checkOptionsObject('restore', options);
    const { policy, policyModule } = options;
    if (policyModule !== undefined) throw new InputError(NO_MODULE);
    this.#stepper.checkUsable();
    const { restoreCache } = await import('../kvcache/snapshot.ts');
    const entry = policy && 'entry' in policy ? policy.entry : policy;
    return restoreCache(bytes, this.#stepper.cacheShape, this.fingerprint, entry);
  }

  /** Gives native memory back, once a step that is under way is done. The model can't be used afterwards. */
  dispose(): Promise<void> {
    return this.#serial.run(async () => {
      await this.#stepper.dispose();
    });
  }

  /** @deprecated {@link dispose} */
  release(): never {
    return refuseRetired('release()', 'dispose()');
  }

  /** @internal */
  [INSPECT](): string {
    const { name, config, weights } = this;
    return inspected('LanguageModel', { name, family: config.name, weights, contextLength: config.contextLength });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  #adaptersOf(batch: number, { adapters, rowAdapters }: AdapterOptions): StepAdapters | null {
    if (rowAdapters && rowAdapters.length !== batch)
      throw new InputError(`rowAdapters has ${rowAdapters.length} entries, but the cache has ${batch} rows`);
    return this.adapters.forRows(rowAdapters ?? new Array<AdapterChoice | undefined>(batch).fill(adapters));
  }
}
