/// <reference lib="esnext.disposable" preserve="true" />
/**
 * @file One interface for a model that generates text, whether it runs in this thread or in a worker.
 */
import type { AdapterChoice, AdapterUse } from '../adapters/choice.ts';
import type { OpenAdapter } from '../adapters/read/adapter-files.ts';
import type { Config } from '../config/config.ts';
import type { CacheContents, CacheMemory, CacheStats } from '../kvcache/inspect.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { PolicyChoice, PolicyEntry } from '../kvcache/policy/policy.ts';
import type { CalibrationTable } from '../kvcache/routing/calibration-table.ts';
import type { StepListener } from '../kvcache/rows/events.ts';
import type { DecodeOptions, EncodeOptions } from '../tokenizer/tokenizer.ts';
import { checkArgument } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { checkOptionsObject, shown } from '../util/option-names.ts';
import type { WeightFormat } from '../weights/types.ts';
import type { BatchRun } from './batch/batch-run.ts';
import type { Source } from './batch/request-queue.ts';
import type { CalibrateOptions } from './calibration/calibrate.ts';
import type { GenerationDefaults } from './defaults.ts';
import type { ChatMessage, MessageRenderer, MessageTemplate } from './messages.ts';
import type { BatchOptions, BatchRequest, GenerateOptions, Prompt, ScoreOptions } from './options.ts';
import type { ScoreResult } from './score.ts';
import type { TextRun } from './text-run.ts';

/** A value here, a promise from a worker: `await` takes both. */
export type Awaitable<T> = T | Promise<T>;

/** A cache of a {@link TextModel}: a `KVCache` here, a `WorkerCache` where the model is in a worker. */
export interface TextCache {
  /** The tokens that a row has computed. */
  tokens(row?: number): Awaitable<number[]>;
  /** Tokens that were generated and not computed yet; the next prompt goes on after them. */
  pending(row?: number): Awaitable<readonly number[]>;
  /** What it holds, in numbers: tokens seen, held and evicted. */
  stats(): Awaitable<CacheStats>;
  /** Its memory in bytes, by what it is for. */
  memory(): Awaitable<CacheMemory>;
  /** Positions of the tokens that a layer holds, ascending. */
  tokenPositions(layer: number, row?: number, group?: number): Awaitable<number[]>;
  /** Positions and scores of all layers. */
  contents(row?: number): Awaitable<CacheContents>;
  /** Goes back to the first `length` tokens. @throws InputError where that state is not known any more. */
  truncate(length: number): Awaitable<void>;
  /** Forgets everything. */
  clear(): Awaitable<void>;
  /** A cache with the same content, which goes on by itself. */
  fork(): Awaitable<TextCache>;
  /** Calls a function after each step, with what was written and evicted. @returns what ends it. */
  on(event: 'step', listener: StepListener): () => void;
  /** Frees its memory. The cache can't be used afterwards. */
  dispose(): Awaitable<void>;
}

/** Text to token ids and back. Both are values here, and promises from a worker. */
export interface TextTokenizer {
  /** The token ids of a text. */
  encode(text: string, options?: EncodeOptions): Awaitable<number[]>;
  /** The text of token ids. */
  decode(ids: readonly number[], options?: DecodeOptions): Awaitable<string>;
  /** What a token adds to a text, as bytes of UTF-8; null where it adds none by itself, such as a special token. */
  tokenBytes(id: number): Awaitable<Uint8Array | null>;
}

/** The live adapters of a model. */
export interface TextAdapters {
  /** Names of those that are loaded. */
  readonly names: readonly string[];
  /** What requests use that choose nothing. */
  readonly default: readonly AdapterUse[];
  /**
   * Loads an adapter beside those that are there.
   * @param source an open adapter (not for a worker), or its folder.
   * @throws AdapterError where it is damaged or does not fit the model, or the name is taken.
   */
  load(source: OpenAdapter | string, name: string): Promise<void>;
  /** Sets what requests use that choose nothing. @throws InputError for names that are unknown. */
  use(choice: AdapterChoice): Awaitable<void>;
  /** Forgets an adapter. @throws InputError where there is none of that name. */
  unload(name: string): Awaitable<void>;
}

/** How a saved cache is opened. */
export interface RestoreOptions {
  /** For a cache whose policy is not in the table. */
  readonly policy?: PolicyEntry | PolicyChoice;
  /** The same for a model in a worker, as the option of a cache. */
  readonly policyModule?: string | URL;
  /** Whether the bytes may be moved to the worker instead of copied; they are empty afterwards. @default false */
  readonly transfer?: boolean;
}

/** @throws InputError for what can't be a saved cache. */
export function checkSaved(bytes: unknown): void {
  const isBytes = ArrayBuffer.isView(bytes) && 'subarray' in bytes;
  checkArgument('restore', 'a Uint8Array, as snapshot gives it', bytes, isBytes);
}

/** @throws InputError for what is no model, such as its name or a cache. */
export function checkTextModel(what: string, model: unknown): void {
  if (typeof model === 'object' && model !== null && 'renderer' in model && 'restore' in model) return;
  throw new InputError(`the model of ${what} must be one that loadModel gave, but is ${shown(model)}`);
}

/**
 * Checks what a call with a model begins with.
 * @throws InputError for what is no model, for options that are no object, or that lack a required one.
 */
export function checkModelCall<T>(
  what: string,
  model: unknown,
  options: T,
  required: readonly (keyof T & string)[] = [],
): void {
  checkTextModel(what, model);
  checkOptionsObject(what, options, required);
}

/** A model that generates text: `LanguageModel` in this thread, `WorkerModel` in a worker. */
export interface TextModel<C extends TextCache = TextCache> extends AsyncDisposable {
  /** Folder, file or hub id. */
  readonly name: string;
  readonly config: Config;
  readonly weights: WeightFormat;
  /** Says which weights these are, and in what format: saved caches belong to it. */
  readonly fingerprint: string;
  /** Tokens at which it ends, by config.json and generation_config.json. */
  readonly eosTokenIds: readonly number[];
  /** The same for answers: the tokenizer's own end of a text is added. */
  readonly answerEnds: readonly number[];
  readonly generationConfig: Readonly<Record<string, unknown>>;
  /** The options of generation_config.json that count where none is given. */
  readonly defaults: GenerationDefaults;
  readonly hasTokenizer: boolean;
  /** @throws InputError where the model has none. */
  readonly tokenizer: TextTokenizer;
  /** How messages are rendered; null: the model has no chat template. Templates run in this thread. */
  readonly chatTemplate: MessageTemplate | null;
  /** @internal */
  readonly renderer: MessageRenderer;
  readonly adapters: TextAdapters;
  /** @throws InputError for options that the policy refuses. */
  createCache(options?: Partial<AnyCacheOptions>): Awaitable<C>;
  /**
   * The cache that was given, or a new one, at once: where the cache is in a worker, an error of its options comes with
   * its first use.
   * @internal
   */
  resolveCache(cache: C | Partial<AnyCacheOptions> | undefined): C;
  /** Continues a prompt, or answers messages. */
  generate(prompt: Prompt, options?: GenerateOptions<C>): TextRun;
  /** As {@link generate} with messages. */
  chat(messages: readonly ChatMessage[], options?: GenerateOptions<C>): TextRun;
  /** Runs several requests in one stream of events. */
  generateBatch(requests: Source<BatchRequest<C> | string>, options?: BatchOptions): BatchRun;
  /** How likely each token of a text is after those before it. */
  score(text: string | readonly number[], options?: ScoreOptions<C>): Promise<ScoreResult>;
  /**
   * Measures how much of the past each query group reads, for the policy `routed`.
   * @throws InputError; the signal's reason.
   */
  calibrate(options?: CalibrateOptions): Promise<CalibrationTable>;
  /** A cache as bytes, for {@link restore}. */
  snapshot(cache: C): Promise<Uint8Array>;
  /** The cache that {@link snapshot} saved. @throws SnapshotError */
  restore(bytes: Uint8Array, options?: RestoreOptions): Promise<C>;
  /** Frees its memory. The model can't be used afterwards. */
  dispose(): Promise<void>;
}
