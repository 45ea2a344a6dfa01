/**
 * @file What the program and the thread of a model say to each other.
 */

import type { Config } from '../config/config.ts';
import type { BatchEvent, BatchOptions, BatchRequest } from '../engine/batch.ts';
import type { GenerateOptions, GenerationResult } from '../engine/options.ts';
import type { ScoreOptions } from '../engine/score.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { WeightFormat } from '../weights/types.ts';
import type { WireError } from './wire.ts';

/** A cache that lives in the thread. */
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

/** A model as the program knows it. */
export interface ModelFacts {
  readonly name: string;
  readonly config: Config;
  readonly weights: WeightFormat;
  readonly fingerprint: string;
  readonly generationConfig: Readonly<Record<string, unknown>>;
  readonly eosTokenIds: readonly number[];
  readonly hasTokenizer: boolean;
  readonly hasChatTemplate: boolean;
}

/** How a generation ended: its result, whole or not, and what went wrong. */
export interface Outcome {
  readonly result: GenerationResult | null;
  readonly error: WireError | null;
}

/** What a batch tells. */
export type BatchMessage =
  /** The thread takes another request. */
  { readonly type: 'pull' } | { readonly type: 'event'; readonly event: BatchEvent; readonly error: WireError | null };

/** The next request of a batch, that one is to end, or that no more will come. */
export type BatchInput =
  | { readonly request: PlainRequest; readonly aborted: boolean }
  | { readonly abort: string | number }
  | { readonly done: true }
  | { readonly error: WireError };
