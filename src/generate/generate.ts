/**
 * @file Generation: a prompt goes into a cache, tokens come out one after the other, and text of them.
 */
import type { AdapterChoice } from '../adapters/bank.ts';
import { CacheFullError, InputError } from '../errors.ts';
import type { CacheStats, KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { wholeNumber } from '../numbers.ts';
import { StreamDecoder } from '../tokenizer/stream-decoder.ts';
import type { LanguageModel } from './language-model.ts';
import { Sampler, type SamplingOptions, type TokenLogprob } from './sampler.ts';
import { StopMatcher } from './stop.ts';

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to write; 256 unless stated. */
  readonly maxNewTokens?: number;
  /** Writing ends where one of these appears; it is not part of the text. */
  readonly stop?: string | readonly string[];
  /** Token ids at which writing ends; the model's own unless stated. */
  readonly eosTokenIds?: readonly number[];
  /** Put the tokenizer's special tokens (such as `<s>`) before the prompt; unless stated, where the cache is empty. */
  readonly addSpecialTokens?: boolean;
  /** A cache to go on with (its tokens come before the prompt), or options for a new one. Unless stated, a dense one. */
  readonly cache?: KVCache | Partial<AnyCacheOptions>;
  /** Tokens of the prompt that go through the graph at once. */
  readonly chunkLength?: number;
  /** Live adapters to write with; unless stated, the model's standard. */
  readonly adapters?: AdapterChoice;
  /** The most likely tokens to report for each place; none unless stated. */
  readonly topLogprobs?: number;
  readonly signal?: AbortSignal;
  /** Told how much of the prompt is done. */
  readonly onPrefill?: (done: number, total: number) => void;
}

/** A token that was written. */
export interface GeneratedToken extends TokenLogprob {
  /** The most likely tokens of this place, where asked for. */
  readonly top?: readonly TokenLogprob[];
}

/** The text that became certain, and the tokens it took. */
export interface GeneratedPiece {
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
}

export type FinishReason = 'eos' | 'stop' | 'length';

export interface GenerationSummary {
  /** All text, without the prompt. */
  readonly text: string;
  readonly tokens: readonly GeneratedToken[];
  readonly promptTokens: number;
  /** `eos`: the model ended; `stop`: a stop string appeared; `length`: maxNewTokens were written. */
  readonly finishReason: FinishReason;
  readonly stopString?: string;
  /** Milliseconds until the first token's logits, and for all tokens after it. */
  readonly prefillMs: number;
  readonly decodeMs: number;
  readonly cache: CacheStats;
}

const MAX_NEW_TOKENS = 256;

/**
 * One run of {@link LanguageModel.generate}: iterate over it for the pieces, or await `done()`. It can be iterated once.
 */
export class Generation implements AsyncIterable<GeneratedPiece> {
  readonly #model: LanguageModel;
  readonly #prompt: readonly number[];
  readonly #options: GenerateOptions;
  readonly #sampler: Sampler;
  readonly #text: TextStream;
  readonly #ends: ReadonlySet<number>;
  readonly #maxNewTokens: number;
  readonly #cache: KVCache;
  #started = false;
  #summary: GenerationSummary | null = null;

  /** @throws InputError */
  constructor(model: LanguageModel, prompt: string | readonly number[], options: GenerateOptions) {
    this.#model = model;
    this.#options = options;
    this.#cache = isCache(options.cache) ? options.cache : model.createCache(options.cache);
    if (this.#cache.batch !== 1)
      throw new InputError(`generate writes one row, but the cache has ${this.#cache.batch}`);
    const addSpecialTokens = options.addSpecialTokens ?? this.#cache.length() === 0;
    this.#prompt = typeof prompt === 'string' ? model.tokenizer.encode(prompt, { addSpecialTokens }) : [...prompt];
    if (this.#prompt.length === 0) throw new InputError('the prompt is empty: there is no token to go on from');
    this.#sampler = new Sampler(options);
    this.#text = new TextStream(model, typeof options.stop === 'string' ? [options.stop] : (options.stop ?? []));
    this.#maxNewTokens = wholeNumber('maxNewTokens', options.maxNewTokens ?? MAX_NEW_TOKENS);
    if (options.chunkLength !== undefined) wholeNumber('chunkLength', options.chunkLength);
    if (options.topLogprobs !== undefined) wholeNumber('topLogprobs', options.topLogprobs, 0);
    this.#ends = new Set(options.eosTokenIds ?? model.config.eosTokenIds);
    for (const id of this.#ends) wholeNumber('a token id of eosTokenIds', id, 0);
  }

  /** The cache that the tokens are in: after a run to its end, the prompt and all tokens written. */
  get cache(): KVCache {
    return this.#cache;
  }

  /** What came of it; null until the iteration has ended. */
  get summary(): GenerationSummary | null {
    return this.#summary;
  }

  /** Runs to the end, and gives all of the text and what there is to say about it. */
  async done(): Promise<GenerationSummary> {
    if (!this.#summary) for await (const _ of this);
    return this.#summary!;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<GeneratedPiece, void, undefined> {
    if (this.#started) throw new InputError('this generation was iterated already; call generate again');
    this.#started = true;
    const { chunkLength, adapters, signal, onPrefill, topLogprobs } = this.#options;
    const text = this.#text;
    const context = [...this.#cache.tokens(), ...this.#prompt];
    const promptLength = context.length;
    const written: GeneratedToken[] = [];
    let finishReason: FinishReason = 'length';
    let pending: GeneratedToken[] = [];

    const begin = performance.now();
    const prefill = { chunkLength, adapters, signal, onProgress: onPrefill };
    let logits = await this.#model.prefill(this.#cache, this.#prompt, prefill);
    const prefillMs = performance.now() - begin;
    for (;;) {
      const { token, logprob, top } = this.#sampler.sample(logits, { tokens: context, promptLength }, topLogprobs);
      if (this.#ends.has(token)) {
        finishReason = 'eos';
        break;
      }
      const made: GeneratedToken = top ? { token, logprob, top } : { token, logprob };
      written.push(made);
      pending.push(made);
      context.push(token);
      const piece = text.push(token);
      if (piece !== '') {
        yield { text: piece, tokens: pending };
        pending = [];
      }
      if (text.stopped !== undefined) {
        finishReason = 'stop';
        break;
      }
      if (written.length >= this.#maxNewTokens) break;
      logits = await this.#model.prefill(this.#cache, [token], { adapters, signal, phase: 'decode' });
    }
    const rest = text.end();
    if (rest !== '' || pending.length > 0) yield { text: rest, tokens: pending };
    const decodeMs = performance.now() - begin - prefillMs;
    if (finishReason !== 'eos') await this.#takeIn(written[written.length - 1].token);
    this.#summary = {
      text: text.all,
      tokens: written,
      promptTokens: this.#prompt.length,
      finishReason,
      stopString: text.stopped,
      prefillMs,
      decodeMs,
      cache: this.#cache.stats(),
    };
  }

  /** The last token was written and never read: whoever goes on from here would miss it. Where it has no room, nobody can. */
  async #takeIn(token: number): Promise<void> {
    const { position, blockSize } = this.#model.config;
    if (position === 'learned' && this.#cache.length() >= blockSize) return;
    try {
      this.#cache.reserve([1]);
    } catch (error) {
      if (error instanceof CacheFullError) return;
      throw error;
    }
    const { adapters } = this.#options;
    await this.#model.prefill(this.#cache, [token], { logits: 'none', adapters, phase: 'decode' });
  }
}

/** From tokens to text that is certain: whole characters, and nothing that may still become a stop string. */
class TextStream {
  readonly #decoder: StreamDecoder | null;
  readonly #stops: StopMatcher | null;
  all = '';
  stopped: string | undefined;

  constructor(model: LanguageModel, stops: readonly string[]) {
    if (stops.length > 0 && !model.hasTokenizer)
      throw new InputError('stop strings need a tokenizer, and the model has none');
    this.#decoder = model.hasTokenizer ? new StreamDecoder(model.tokenizer, { skipSpecialTokens: true }) : null;
    this.#stops = stops.length > 0 ? new StopMatcher(stops) : null;
  }

  push(token: number): string {
    return this.#decoder ? this.#match(this.#decoder.push(token)) : '';
  }

  end(): string {
    if (!this.#decoder || this.stopped !== undefined) return '';
    const piece = this.#match(this.#decoder.flush());
    const rest = this.stopped === undefined ? (this.#stops?.flush() ?? '') : '';
    this.all += rest;
    return piece + rest;
  }

  #match(text: string): string {
    const { emit, stopped } = this.#stops?.push(text) ?? { emit: text, stopped: undefined };
    this.stopped = stopped;
    this.all += emit;
    return emit;
  }
}

function isCache(value: GenerateOptions['cache']): value is KVCache {
  return value !== undefined && 'append' in value;
}
