/**
 * @file One request of a batch, from its prompt to its end.
 */
import type { AdapterChoice } from '../adapters/bank.ts';
import { answerEnds, chatPrompt, type TemplateOptions } from '../chat/chat.ts';
import type { ChatMessage } from '../chat/chat-template.ts';
import type { CacheStats, KVCache } from '../kvcache/kv-cache.ts';
import { Clock } from '../util/clock.ts';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import type { DecoderModel } from './model.ts';
import type { FinishReason, GeneratedPiece, GenerateOptions, GenerationSummary } from './options.ts';
import { appendLastToken, type PrefillStep, prefillSteps } from './prefill.ts';
import { reusePrefix } from './prefix.ts';
import { promptTokens, resolveCache } from './prompt.ts';
import { Speculator } from './speculate/speculator.ts';
import { TokenStream } from './token-stream.ts';

/** What a row goes on from, and its options. */
export interface RowOptions extends Omit<GenerateOptions, 'onPrefill'>, TemplateOptions {
  /** Text, or token ids. */
  readonly prompt?: string | readonly number[];
  /** In place of a prompt: messages to answer, by the model's chat template. */
  readonly messages?: readonly ChatMessage[];
}

export class BatchRow {
  readonly id: string | number;
  /** The row's own cache, where its prompt is read; one that was handed in gets all of it back at the end. */
  readonly cache: KVCache;
  readonly signal: AbortSignal | undefined;
  readonly adapters: AdapterChoice | undefined;
  readonly writer: TokenStream;
  readonly speculator: Speculator;
  readonly #model: DecoderModel;
  readonly #options: RowOptions;
  readonly #prompt: readonly number[];
  readonly #clock = new Clock();
  #reading: AsyncGenerator<PrefillStep, void, undefined> | null = null;
  #reused = 0;

  /** @throws InputError for options out of range. */
  constructor(model: DecoderModel, id: string | number, options: RowOptions) {
    this.id = id;
    this.signal = options.signal;
    this.adapters = options.adapters;
    this.#model = model;
    this.#options = options;
    this.cache = resolveCache(model, options.cache);
    if (this.cache.batch !== 1) throw new InputError(`a request is one row, but its cache has ${this.cache.batch}`);
    const { prompt, messages } = options;
    if ((prompt === undefined) === (messages === undefined))
      throw new InputError('a request needs a prompt, or messages instead');
    const start = prompt ?? chatPrompt(model, messages!, options).tokens;
    this.#prompt = promptTokens(model, start, options, this.cache);
    const eosTokenIds = options.eosTokenIds ?? (messages ? answerEnds(model) : undefined);
    this.writer = new TokenStream(model, { ...options, eosTokenIds });
    if (options.chunkLength !== undefined) wholeNumber('chunkLength', options.chunkLength);
    this.speculator = new Speculator(model, this.cache, options.speculate, options);
  }

  /** Reads a chunk of the prompt. @returns the logits after it [V]; null as long as there is more to read. */
  async read(): Promise<Float32Array | null> {
    this.#reading ??= await this.#begin();
    const { value } = await this.#reading.next();
    const { done, total, logits } = value as PrefillStep;
    if (done < total) return null;
    await this.#reading.next();
    this.#clock.prefilled();
    return logits;
  }

  /** Chooses tokens, as long as their logits are there; then its chunk is to be run, or it is over. */
  async *write(cache: KVCache, row: number, logits: Float32Array): AsyncGenerator<GeneratedPiece, void, undefined> {
    const { writer, speculator } = this;
    for (let next: Float32Array | null = logits; next; next = await speculator.next(cache, row, writer.context)) {
      const piece = writer.take(next, speculator.proposal);
      if (piece) yield piece;
      if (!writer.finishReason) continue;
      const rest = writer.end();
      if (rest) yield rest;
      return;
    }
  }

  /**
   * It is over: leaves in the cache that was handed in what was read and written.
   * @param cache where the row is now.
   */
  async end(cache: KVCache, row: number, reason: FinishReason): Promise<GenerationSummary> {
    const { writer, speculator } = this;
    this.#clock.stop();
    const whole = writer.finishReason === 'stop' || writer.finishReason === 'length';
    const last = whole ? writer.last : null;
    const held = speculator.end(cache, row, last);
    if (this.#options.cache === this.cache) {
      if (cache !== this.cache) {
        this.cache.copyRow(cache, row, 0);
        this.cache.trim();
      }
      if (last !== null && !held) await appendLastToken(this.#model, this.cache, last, this.adapters);
    }
    return {
      text: writer.text,
      tokens: writer.tokens,
      promptTokens: this.#prompt.length,
      reusedTokens: this.#reused,
      finishReason: reason,
      stopString: writer.stopString,
      prefillMs: this.#clock.prefillMs,
      decodeMs: this.#clock.decodeMs,
      cache: statsOf(cache, row),
      speculation: speculator.stats,
    };
  }

  async #begin(): Promise<AsyncGenerator<PrefillStep, void, undefined>> {
    const { cache } = this;
    await this.#model.prepare(cache, { adapters: this.adapters });
    this.#clock.start();
    if (this.#options.reusePrefix) this.#reused = reusePrefix(cache, this.#prompt);
    const fresh = this.#prompt.slice(this.#reused);
    this.writer.begin([...cache.tokens(), ...fresh]);
    return prefillSteps(this.#model, cache, fresh, { chunkLength: this.#options.chunkLength, adapters: this.adapters });
  }
}

/** As if the row were alone in its cache. */
function statsOf(cache: KVCache, row: number): CacheStats {
  const { seen, held, evicted, bytes, ...rest } = cache.stats();
  return { ...rest, seen: [seen[row]], held: [held[row]], evicted: [evicted[row]], bytes: bytes / cache.batch };
}
