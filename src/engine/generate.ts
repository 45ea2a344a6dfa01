/**
 * @file Generation: a prompt goes into a cache, tokens come out one after the other, and text of them.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';
import { Clock } from '../util/clock.ts';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import type { DecoderModel } from './model.ts';
import type { FinishReason, GeneratedPiece, GenerateOptions, GenerationSummary } from './options.ts';
import { appendLastToken, prefill } from './prefill.ts';
import { reusePrefix } from './prefix.ts';
import { promptTokens, resolveCache } from './prompt.ts';
import { Speculator } from './speculate/speculator.ts';
import { TokenStream } from './token-stream.ts';

/**
 * One run of {@link LanguageModel.generate}: iterate over it for the pieces, or await `done()`. It can be iterated once.
 */
export class Generation implements AsyncIterable<GeneratedPiece> {
  readonly #model: DecoderModel;
  readonly #prompt: readonly number[];
  readonly #options: GenerateOptions;
  readonly #writer: TokenStream;
  readonly #speculator: Speculator;
  readonly #cache: KVCache;
  #started = false;
  #summary: GenerationSummary | null = null;
  #failure: { readonly error: unknown } | null = null;

  /** @throws InputError */
  constructor(model: DecoderModel, prompt: string | readonly number[], options: GenerateOptions) {
    this.#model = model;
    this.#options = options;
    this.#cache = resolveCache(model, options.cache);
    if (this.#cache.batch !== 1)
      throw new InputError(`generate writes one row, but the cache has ${this.#cache.batch}`);
    this.#prompt = promptTokens(model, prompt, options, this.#cache);
    this.#writer = new TokenStream(model, options);
    if (options.chunkLength !== undefined) wholeNumber('chunkLength', options.chunkLength);
    this.#speculator = new Speculator(model, this.#cache, options.speculate, options);
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
      let logits = await prefill(this.#model, cache, fresh, { chunkLength, adapters, signal, onProgress: onPrefill });
      clock.prefilled();
      for (;;) {
        const piece = writer.take(logits, this.#speculator.proposal);
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
        speculation: this.#speculator.stats,
      };
    }
  }

  /** The logits of the next place. */
  async #next(): Promise<Float32Array> {
    const { adapters, signal } = this.#options;
    const cache = this.#cache;
    const known = await this.#speculator.next(cache, 0, this.#writer.context);
    if (known) return known;
    const { chunk } = this.#speculator;
    const before = cache.length();
    if (chunk.length === 1)
      return this.#speculator.accept(
        await prefill(this.#model, cache, chunk, { adapters, signal, phase: 'decode' }),
        before,
      );
    signal?.throwIfAborted();
    const { logits } = await this.#model.step(cache, [chunk], { logits: 'all', adapters, eachQuery: true });
    return this.#speculator.accept(logits, before);
  }

  /** Leaves in the cache what was read and written, and no more. */
  async #settle(): Promise<void> {
    const { finishReason } = this.#writer;
    const whole = finishReason === 'stop' || finishReason === 'length';
    const last = whole ? this.#writer.last : null;
    const held = this.#speculator.end(this.#cache, 0, last);
    if (last !== null && !held) await appendLastToken(this.#model, this.#cache, last, this.#options.adapters);
  }
}
