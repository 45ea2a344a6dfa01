/**
 * @file What the program and the thread of a model send to each other.
 */
import type { AdapterUse } from '../adapters/choice.ts';
import type { Config } from '../config/config.ts';
import type { BatchEvent } from '../engine/batch/batch-run.ts';
import type { GenerationDefaults } from '../engine/defaults.ts';
import type { BatchOptions, BatchRequest, GenerateOptions, GenerationResult, ScoreOptions } from '../engine/options.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { WeightFormat } from '../weights/types.ts';
import type { WireError } from './wire.ts';

/** A cache in the thread. The program chooses the number, so that it can use a cache before the thread has made it. */
export interface CacheRef {
  readonly cacheId: number;
}

/** Options that can go to another thread: no functions among them. */
type Plain<T> = Omit<T, 'signal' | 'onPrefill' | 'onProgress' | 'processors' | 'cache' | 'speculate'> & {
  readonly cache?: CacheRef | Partial<AnyCacheOptions>;
  readonly speculate?: boolean | { readonly tokens?: number; readonly exact?: boolean };
};

export type PlainGenerateOptions = Plain<GenerateOptions>;
export type PlainScoreOptions = Plain<ScoreOptions>;
export type PlainRequest = Plain<BatchRequest>;
export type PlainBatchOptions = Plain<BatchOptions>;

/** The live adapters of a model, and its fingerprint with them. */
export interface AdapterFacts {
  readonly names: readonly string[];
  readonly default: readonly AdapterUse[];
  readonly fingerprint: string;
}

/** A model as the program knows it. */
export interface ModelFacts {
  readonly name: string;
  readonly config: Config;
  readonly weights: WeightFormat;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  readonly defaults: GenerationDefaults;
  readonly eosTokenIds: readonly number[];
  readonly answerEnds: readonly number[];
  readonly hasTokenizer: boolean;
  /** Sources of the chat templates by name; null: there are none. */
  readonly templates: Readonly<Record<string, string>> | null;
  /** tokenizer_config.json: templates write special tokens. */
  readonly tokenizerConfig: Readonly<Record<string, unknown>>;
  readonly adapters: AdapterFacts;
}

/** How a generation ended: its result, whole or not, and what went wrong. */
export interface Outcome {
  readonly result: GenerationResult | null;
  readonly error: WireError | null;
}

/** What a batch emits. */
export type BatchMessage =
  /** The thread takes another request. */
  { readonly type: 'pull' } | { readonly type: 'event'; readonly event: BatchEvent; readonly error: WireError | null };

/** The next request of a batch, that one is to end, or that no more will come. */
export type BatchInput =
  | { readonly request: PlainRequest; readonly aborted: boolean }
  | { readonly abort: string | number }
  | { readonly done: true }
  | { readonly error: WireError };
