/**
 * @file Generation: a prompt goes into a cache, tokens come out one after the other, and text of them.
 */
import type { AdapterChoice } from '../adapters/bank.ts';
import type { CacheStats, KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { Clock } from '../util/clock.ts';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import type { LanguageModel } from './language-model.ts';
import { takeIn } from './prefill.ts';
import { reusePrefix } from './prefix.ts';
import { Lookahead, type SpeculateOptions, type SpeculationStats } from './speculate/lookahead.ts';
import { type FinishReason, type GeneratedPiece, type GeneratedToken, Writer, type WritingOptions } from './writer.ts';

export interface GenerateOptions extends WritingOptions {
  /** Put the tokenizer's special tokens (such as `<s>`) before the prompt; unless stated, where the cache is empty. */
  readonly addSpecialTokens?: boolean;
  /** A cache to go on with (its tokens come before the prompt), or options for a new one. Unless stated, a dense one. */
  readonly cache?: KVCache | Partial<AnyCacheOptions>;
  /**
   * The prompt is all of the text, from its beginning: what the given cache has seen of it is not computed anew. Where the cache
   * has seen something else, it goes back as far as it can.
   */
  readonly reusePrefix?: boolean;
  /** Tokens of the prompt that go through the graph at once. */
  readonly chunkLength?: number;
  /** Live adapters to write with; unless stated, the model's standard. */
  readonly adapters?: AdapterChoice;
  /** Propose tokens and check several at once: `true` looks for repetitions, a draft model guesses. */
  readonly speculate?: boolean | SpeculateOptions;
  readonly signal?: AbortSignal;
  /** Told how much of the prompt is done. */
  readonly onPrefill?: (done: number, total: number) => void;
}

export interface GenerationSummary {
  /** All text, without the prompt. */
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
  readonly promptTokens: number;
  /** Those of the prompt that the cache had seen already; see {@link GenerateOptions.reusePrefix}. */
  readonly reusedTokens: number;
  readonly finishReason: FinishReason;
  readonly stopString?: string;
  /** Milliseconds until the first token's logits, and for all tokens after it. */
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly cache: CacheStats;
  /** Where it was asked for. */
  readonly speculation?: SpeculationStats;
}

/**
 * One run of {@link LanguageModel.generate}: iterate over it for the pieces, or await `done()`. It can be iterated once.
 */
export class Generation implements AsyncIterable<GeneratedPiece> {
  readonly #model: LanguageModel;
  readonly #prompt: readonly number[];
  readonly #options: GenerateOptions;
  readonly #writer: Writer;
  readonly #lookahead: Lookahead;
  readonly #cache: KVCache;
  #started = false;
  #summary: GenerationSummary | null = null;
  #failure: { readonly error: unknown } | null = null;

  /** @throws InputError */
  constructor(model: LanguageModel, prompt: string | readonly number[], options: GenerateOptions) {
    this.#model = model;
    this.#options = options;
    this.#cache = openCache(model, options.cache);
    if (this.#cache.batch !== 1)
      throw new InputError(`generate writes one row, but the cache has ${this.#cache.batch}`);
    this.#prompt = promptTokens(model, prompt, options, this.#cache);
    this.#writer = new Writer(model, options);
    if (options.chunkLength !== undefined) wholeNumber('chunkLength', options.chunkLength);
    this.#lookahead = new Lookahead(model, this.#cache, options.speculate, options);
  }

  /** The cache that the tokens are in: after a run to its end, the prompt and all tokens written. */
  get cache(): KVCache {
    return this.#cache;
  }

  /** What came of it, whole or not; null until the iteration has ended. */
  get summary(): GenerationSummary | null {
    return this.#summary;
  }

  /**
   * Runs to the end, and gives all of the text and what there is to say about it.
   * @throws whatever ended it before its time; {@link summary} says how far it came.
   */
  async done(): Promise<GenerationSummary> {
    if (!this.#summary) for await (const _ of this);
    if (this.#failure) throw this.#failure.error;
    return this.#summary!;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedPiece, void, undefined> {
    if (this.#started) throw new InputError('this generation was iterated already; call generate again');
    this.#started = true;
    const { chunkLength, adapters, signal, onPrefill } = this.#options;
    const writer = this.#writer;
    const cache = this.#cache;
    const clock = new Clock();
    let reused = 0;
    // Unless it comes to its end, its reader has left.
    let finishReason: FinishReason = 'aborted';
    try {
      signal?.throwIfAborted();
      await this.#model.prepare(cache, { adapters });
      clock.start();
      if (this.#options.reusePrefix) reused = reusePrefix(cache, this.#prompt);
      const fresh = this.#prompt.slice(reused);
      writer.begin([...cache.tokens(), ...fresh]);
      let logits = await this.#model.prefill(cache, fresh, { chunkLength, adapters, signal, onProgress: onPrefill });
      clock.prefilled();
      for (;;) {
        const piece = writer.take(logits, this.#lookahead.proposal);
        if (piece) yield piece;
        if (writer.finishReason) break;
        logits = await this.#next();
      }
      const rest = writer.end();
      if (rest) yield rest;
      finishReason = writer.finishReason;
    } catch (error) {
      finishReason = signal?.aborted ? 'aborted' : 'error';
      this.#failure = { error };
      throw error;
    } finally {
      clock.stop();
      await this.#settle();
      this.#summary = {
        text: writer.text,
        tokens: writer.tokens,
        promptTokens: this.#prompt.length,
        reusedTokens: reused,
        finishReason,
        stopString: writer.stopString,
        prefillMs: clock.prefillMs,
        decodeMs: clock.decodeMs,
        cache: cache.stats(),
        speculation: this.#lookahead.stats,
      };
    }
  }

  /** The logits of the next place. */
  async #next(): Promise<Float32Array> {
    const { adapters, signal } = this.#options;
    const cache = this.#cache;
    const known = await this.#lookahead.next(cache, 0, this.#writer.context);
    if (known) return known;
    const { chunk } = this.#lookahead;
    const before = cache.length();
    if (chunk.length === 1)
      return this.#lookahead.ran(
        await this.#model.prefill(cache, chunk, { adapters, signal, phase: 'decode' }),
        before,
      );
    signal?.throwIfAborted();
    const { logits } = await this.#model.step(cache, [chunk], { logits: 'all', adapters, eachQuery: true });
    return this.#lookahead.ran(logits, before);
  }

  /** Leaves in the cache what was read and written, and no more. */
  async #settle(): Promise<void> {
    const { finishReason } = this.#writer;
    const whole = finishReason === 'stop' || finishReason === 'length';
    const last = whole ? this.#writer.last : null;
    const held = this.#lookahead.end(this.#cache, 0, last);
    if (last !== null && !held) await takeIn(this.#model, this.#cache, last, this.#options.adapters);
  }
}

/** The cache that was handed in, or a new one. @throws InputError for options that the policy refuses. */
export function openCache(model: LanguageModel, cache: GenerateOptions['cache']): KVCache {
  return cache !== undefined && 'append' in cache ? cache : model.createCache(cache);
}

/** The ids of a prompt. @throws InputError where there are none. */
export function promptTokens(
  model: LanguageModel,
  prompt: string | readonly number[],
  options: Pick<GenerateOptions, 'addSpecialTokens' | 'reusePrefix'>,
  cache: KVCache,
): readonly number[] {
  const addSpecialTokens = options.addSpecialTokens ?? (options.reusePrefix || cache.length() === 0);
  const tokens = typeof prompt === 'string' ? model.tokenizer.encode(prompt, { addSpecialTokens }) : [...prompt];
  if (tokens.length === 0) throw new InputError('the prompt is empty: there is no token to go on from');
  return tokens;
}
