/**
 * @file Options of a generation, and what comes out of it.
 */
import type { AdapterChoice } from '../adapters/choice.ts';
import type { TextFormat } from '../grammar/format.ts';
import type { CacheStats } from '../kvcache/inspect.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { ChatMessage, TemplateOptions } from './messages.ts';
import type { SamplingOptions, TokenLogprob } from './sampling/sampler.ts';
import type { SpeculateOptions, SpeculationStats } from './speculate/drafter.ts';

/** How tokens are chosen, and when that ends. */
export interface TokenOptions extends SamplingOptions {
  /**
   * Most tokens to generate.
   * @default 256
   */
  readonly maxNewTokens?: number;
  /** Generation ends where one of these appears; it is not part of the text. @default none */
  readonly stop?: string | readonly string[];
  /**
   * Names of special tokens that are part of the text, such as `[TOOL_CALLS]`.
   * @default none: special tokens have no text
   */
  readonly keepSpecialTokens?: readonly string[];
  /**
   * Token ids at which generation ends.
   * @default the model's own
   */
  readonly eosTokenIds?: readonly number[];
  /**
   * How many of the most likely tokens to report for each token.
   * @default 0
   */
  readonly topLogprobs?: number;
  /**
   * What the text must be: JSON, JSON of a schema, or what a regular expression matches. Tokens that lead to anything
   * else are never chosen.
   * @default any text
   */
  readonly format?: TextFormat;
}

/** Text, token ids, or messages to answer. */
export type Prompt = string | readonly number[] | readonly ChatMessage[];

/** Options of `generate` and `chat`. */
export interface GenerateOptions<Cache = KVCache> extends TokenOptions, TemplateOptions {
  /**
   * Put the tokenizer's special tokens (such as `<s>`) before the prompt.
   * @default true where the cache is empty
   */
  readonly addSpecialTokens?: boolean;
  /**
   * A cache to go on with (its tokens come before the prompt), or options for a new one.
   * @default a dense one, as long as the model's context
   */
  readonly cache?: Cache | Partial<AnyCacheOptions>;
  /**
   * The prompt is all of the text, from its beginning: what the given cache has seen of it is not computed again. Where
   * the cache has seen something else, it goes back as far as it can.
   * @default false
   */
  readonly reusePrefix?: boolean;
  /**
   * Tokens of the prompt that go through the graph at once. Where it is given, chunks have exactly this length.
   * @default as `chunkLength` of `prefill`, and less while other sequences decode
   */
  readonly chunkLength?: number;
  /**
   * Whether the checkpoint's generation_config.json counts where an option is not given.
   * @default true
   */
  readonly generationConfig?: boolean;
  /**
   * Live adapters.
   * @default the model's default adapters
   */
  readonly adapters?: AdapterChoice;
  /**
   * Speculation: draft tokens are proposed, and one step verifies several of them. `true` takes drafts from the text
   * itself (prompt lookup); an object can name a draft model.
   * @default false
   */
  readonly speculate?: boolean | SpeculateOptions;
  /** Ends the generation; `finishReason` is `aborted` then. */
  readonly signal?: AbortSignal;
  /** Called after each chunk of the prompt, with the numbers of tokens that are computed and of all. */
  readonly onPrefill?: (done: number, total: number) => void;
}

/** A prompt or messages, and the options of one generation. */
export interface SequenceRequest<Cache = KVCache> extends GenerateOptions<Cache> {
  /** Text, or token ids. */
  readonly prompt?: string | readonly number[];
  /** In place of a prompt: messages to answer, by the model's chat template. */
  readonly messages?: readonly ChatMessage[];
}

/** A token that was generated. */
export interface GeneratedToken extends TokenLogprob {
  /** The most likely tokens at its position, where asked for. */
  readonly top?: readonly TokenLogprob[];
}

/** A piece of text that can no longer change, and its tokens. */
export interface TextChunk {
  /** Whole characters; it may be empty. */
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
}

/**
 * Why a generation ended. `eos`: the model generated an end token; `stop`: a stop string appeared; `length`:
 * maxNewTokens were generated, or the end of the context was reached; `aborted`: the signal was aborted, or the reader
 * left the loop; `error`: something went wrong.
 */
export type FinishReason = 'eos' | 'stop' | 'length' | 'aborted' | 'error';

/** Numbers of tokens. */
export interface Usage {
  /** Of the prompt. */
  readonly promptTokens: number;
  /** Those of the prompt that the cache had seen already; see {@link GenerateOptions.reusePrefix}. */
  readonly cachedTokens: number;
  /** That were generated. */
  readonly completionTokens: number;
}

/** How long a generation took. */
export interface Timings {
  /** Milliseconds until the first token's logits. */
  readonly prefillMs: number;
  /** Milliseconds for all tokens after the first. */
  readonly decodeMs: number;
}

/** What a generation gave. */
export interface GenerationResult {
  /** All text, without the prompt. */
  readonly text: string;
  /** The tokens of the text, an end token included. */
  readonly tokens: readonly GeneratedToken[];
  /** Why it ended. */
  readonly finishReason: FinishReason;
  /** The value of the text, where `format` is JSON and the text is complete. */
  readonly parsed?: unknown;
  /** The stop string that ended it. */
  readonly stopString?: string;
  /** Numbers of tokens. */
  readonly usage: Usage;
  /** Milliseconds of prompt and text. */
  readonly timings: Timings;
  /** What the cache held at the end. */
  readonly cache: CacheStats;
  /** How many drafts were proposed and accepted, where speculation was asked for. */
  readonly speculation?: SpeculationStats;
}

/** A prompt with options of its own, over those of the batch. */
export interface BatchRequest<Cache = KVCache> extends SequenceRequest<Cache> {
  /**
   * What its events are marked with.
   * @default its number, from 0
   */
  readonly id?: string | number;
}

/** What holds for all requests that do not say otherwise, and for the batch itself. */
export interface BatchOptions extends Omit<SequenceRequest, 'prompt' | 'messages' | 'cache' | 'onPrefill'> {
  /** Options of the rows' caches. Rows with the same ones share their steps. */
  readonly cache?: Partial<AnyCacheOptions>;
  /**
   * Most requests that run at the same time.
   * @default 8
   */
  readonly batchSize?: number;
  /** Ends all of them; a request's own signal ends that one. */
  readonly signal?: AbortSignal;
}

/** Options of `score`. */
export interface ScoreOptions<Cache = KVCache>
  extends Pick<GenerateOptions<Cache>, 'addSpecialTokens' | 'adapters' | 'cache' | 'signal' | 'topLogprobs'> {
  /**
   * Tokens that go through the graph at once. Where it is given, chunks have exactly this length. Each token of a chunk
   * has a row of logits, 4 bytes for each token of the vocabulary.
   * @default as `chunkLength` of `prefill`, and less where their logits take more than 16 MB, down to 64
   */
  readonly chunkLength?: number;
  /**
   * Whether the last token is left pending in the cache, uncomputed: a generation that goes on needs its logits, and
   * computes it.
   * @default false
   */
  readonly leavesLast?: boolean;
  /** Told how many tokens are done. */
  readonly onProgress?: (done: number, total: number) => void;
}
