/**
 * @file One generation: its tokens, its cache, how tokens are chosen, its text, and its end. The scheduler runs its
 * steps.
 */
import type { AdapterChoice } from '../../adapters/choice.ts';
import type { CacheStats } from '../../kvcache/inspect.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import type { CacheLease } from '../../kvcache/lease.ts';
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { withDefaults } from '../defaults.ts';
import { answerEnds, messagesPrompt } from '../messages.ts';
import type { DecoderModel } from '../model.ts';
import type { FinishReason, GenerationResult, SequenceRequest, TextChunk } from '../options.ts';
import { promptTokens, resolveCache } from '../prompt.ts';
import { checkRequest } from '../request-options.ts';
import { Speculator } from '../speculate/speculator.ts';
import { Clock } from './clock.ts';
import { type PrefillStep, PromptReader } from './prefill.ts';
import { reusePrefix } from './prefix.ts';
import { type BatchMember, type BatchRow, ownRow } from './shared-batch.ts';
import { TokenStream } from './token-stream.ts';

/** How a sequence ended; `failure` where it was not by itself. */
export interface SequenceEnd {
  readonly result: GenerationResult;
  readonly failure: { readonly error: unknown } | null;
}

/** Reads what a sequence generates. */
export interface SequenceReader {
  /** Whether it waits for more: a sequence that is not waited for takes no steps. */
  readonly waits: boolean;
  /** Whether the sequence's cache is of use after its end. One that was given always is. */
  readonly keepsCache: boolean;
  onChunk(chunk: TextChunk): void;
  onEnd(end: SequenceEnd): void;
}

export class Sequence implements BatchMember {
  /** Its own cache, where its prompt is read. At the end it holds all that was read and generated. */
  readonly cache: KVCache;
  readonly adapters: AdapterChoice | undefined;
  readonly signal: AbortSignal | undefined;
  readonly speculator: Speculator;
  readonly reader: SequenceReader;
  phase: 'waiting' | 'prefill' | 'decode' | 'ended' = 'waiting';
  /** Rounds in which another prompt was read. */
  passedOver = 0;
  /** Rounds in a row in which its reader did not wait. */
  pausedRounds = 0;
  /** Resolves when it has ended, and nothing uses its cache any more. */
  readonly ended: Promise<void>;
  /** Wakes the scheduler; set by it. */
  wake: () => void = () => {};
  readonly #model: DecoderModel;
  readonly #request: SequenceRequest;
  readonly #prompt: readonly number[];
  readonly #stream: TokenStream;
  readonly #keepsCache: boolean;
  readonly #clock = new Clock();
  #tellEnded: () => void = () => {};
  #lease: CacheLease | undefined;
  /** Stops the chunk of its prompt that is being read. */
  readonly #stop = new AbortController();
  readonly #onAbort = () => {
    this.#stop.abort();
    this.wake();
  };
  #left = false;
  #prepared = true;
  /** What went wrong while it was prepared. */
  #flaw: { readonly error: unknown } | null = null;
  #reader: PromptReader | null = null;
  #cached = 0;

  /** @throws InputError for options out of range. */
  constructor(model: DecoderModel, given: SequenceRequest, reader: SequenceReader) {
    checkRequest(given);
    const request = withDefaults(given, model.defaults);
    const { prompt, messages, chunkLength, speculate } = request;
    this.#model = model;
    this.#request = request;
    this.reader = reader;
    this.signal = request.signal;
    this.adapters = request.adapters;
    this.cache = resolveCache(model, request.cache);
    this.#keepsCache = reader.keepsCache || this.cache === request.cache;
    if (this.cache.batch !== 1)
      throw new InputError(`a generation has one row, but the cache has ${this.cache.batch}: make one with batch 1`);
    if ((prompt === undefined) === (messages === undefined))
      throw new InputError('a request needs a prompt, or messages instead');
    const start = prompt !== undefined ? prompt : messagesPrompt(model, messages!, request).tokens;
    this.#prompt = promptTokens(model, start, request, this.cache);
    const eosTokenIds = request.eosTokenIds ?? (messages ? answerEnds(model) : undefined);
    this.#stream = new TokenStream(model, { ...request, eosTokenIds });
    if (chunkLength !== undefined) wholeNumber('chunkLength', chunkLength);
    this.speculator = new Speculator(model, this.cache, speculate, request);
    this.ended = new Promise((resolve) => {
      this.#tellEnded = resolve;
    });
  }

  /** Whether it is to end before its time. */
  get cancelled(): boolean {
    return this.#left || this.signal?.aborted === true;
  }

  /** From {@link start} to its end. */
  get lease(): CacheLease | undefined {
    return this.#lease;
  }

  /** Whether its logits processors are prepared. */
  get prepared(): boolean {
    return this.#prepared;
  }

  /** Reserves its cache, and prepares its logits processors. @throws CacheBusyError while another run has the cache. */
  start(): void {
    this.#lease = this.cache.acquire('a generation');
    this.signal?.addEventListener('abort', this.#onAbort);
    const preparing = this.#stream.prepare();
    if (!preparing) return;
    this.#prepared = false;
    const done = () => {
      this.#prepared = true;
      this.wake();
    };
    preparing.then(done, (error: unknown) => {
      this.#flaw = { error };
      done();
    });
  }

  /** @throws InputError where its cache was disposed of meanwhile. */
  checkCache(): void {
    this.cache.checkLease('a generation', this.#lease);
  }

  /** Tokens of the prompt, without those that its cache had. */
  get promptLength(): number {
    return this.#reader?.total ?? this.#prompt.length;
  }

  /** Tokens of the prompt to come. */
  get promptLeft(): number {
    return this.#reader?.left ?? this.#prompt.length;
  }

  /** The reader wants no more. @returns when the cache is free. */
  leave(): Promise<void> {
    this.#left = true;
    this.#stop.abort();
    this.wake();
    return this.ended;
  }

  /** Makes it ready to read its prompt. @throws InputError, CacheFullError */
  async begin(): Promise<void> {
    if (this.#flaw) throw this.#flaw.error;
    const { cache, adapters, lease } = this;
    await this.#model.prepare(cache, { adapters });
    this.#clock.start();
    if (this.#request.reusePrefix) this.#cached = reusePrefix(cache, this.#prompt, lease);
    const fresh = this.#prompt.slice(this.#cached);
    this.#stream.begin([...cache.tokens(), ...cache.pending(), ...fresh]);
    const { chunkLength } = this.#request;
    this.#reader = new PromptReader(this.#model, cache, fresh, {
      chunkLength,
      adapters,
      lease,
      signal: this.#stop.signal,
    });
    this.phase = 'prefill';
  }

  /**
   * Reads a chunk of the prompt. After the last one the first token is chosen.
   * @param most as of {@link PromptReader.read}.
   */
  async readPrompt(most: number): Promise<PrefillStep> {
    const step = await this.#reader!.read(most);
    this.#request.onPrefill?.(step.done, step.total);
    if (step.done === step.total) {
      this.#clock.prefilled();
      this.phase = 'decode';
      if (!this.cancelled) await this.#choose(ownRow(this), step.logits);
    }
    return step;
  }

  /**
   * The speculator's chunk was run: chooses tokens as long as their logits are there.
   * @param logits [T, V]
   * @param before tokens of the row before the chunk.
   */
  async accept(at: BatchRow, logits: Float32Array, before: number): Promise<void> {
    await this.#choose(at, this.speculator.accept(logits, before));
  }

  /** It has a row of a shared cache now, and gets all of it back at its end. */
  joined(): void {
    this.cache.clear(this.#lease);
  }

  /** Why it ends by itself; null: it goes on. */
  get finishReason(): FinishReason | null {
    return this.#stream.finishReason;
  }

  /**
   * It is over: its own cache gets what was read and generated.
   * @param at the row where it is now.
   */
  async end(at: BatchRow, reason: FinishReason, failure: SequenceEnd['failure'] = null): Promise<void> {
    if (this.phase === 'ended') return;
    const decoded = this.phase === 'decode';
    this.phase = 'ended';
    this.#clock.stop();
    let end = { reason, failure };
    try {
      this.#leaveCache(at, decoded);
    } catch (error) {
      end = failure ? end : { reason: 'error', failure: { error } };
    }
    this.signal?.removeEventListener('abort', this.#onAbort);
    this.#lease?.release();
    const rest = this.#stream.finishReason || end.reason === 'length' ? this.#stream.end() : null;
    const result = this.#result(end.reason, statsOf(at));
    this.#tellEnded();
    if (rest) this.reader.onChunk(rest);
    this.reader.onEnd({ result, failure: end.failure });
  }

  async #choose(at: BatchRow, logits: Float32Array): Promise<void> {
    const stream = this.#stream;
    const { speculator } = this;
    for (let next: Float32Array | null = logits; next; ) {
      const chunk = stream.take(next, speculator.proposal);
      if (chunk) this.reader.onChunk(chunk);
      if (stream.finishReason || this.cancelled) return;
      next = await speculator.next(at, stream.context);
    }
  }

  /** Leaves in its own cache what was read and generated. The last token is pending: no step runs for it. */
  #leaveCache(at: BatchRow, decoded: boolean): void {
    const { cache, row } = at;
    if (decoded) this.speculator.end(at, this.#stream.context);
    if (!this.#keepsCache || !this.#lease) return;
    if (cache !== this.cache) {
      this.cache.copyRow(cache, row, 0, this.#lease);
      this.cache.trim();
    }
    if (decoded) this.cache.setPending(0, this.#stream.context.slice(this.cache.length()), this.#lease);
  }

  #result(finishReason: FinishReason, cache: CacheStats): GenerationResult {
    const { text, tokens, stopString, parsed } = this.#stream;
    return {
      text,
      tokens,
      finishReason,
      ...(parsed === undefined ? {} : { parsed }),
      ...(stopString === undefined ? {} : { stopString }),
      usage: { promptTokens: this.#prompt.length, cachedTokens: this.#cached, completionTokens: tokens.length },
      timings: { prefillMs: this.#clock.prefillMs, decodeMs: this.#clock.decodeMs },
      cache,
      ...(this.speculator.stats ? { speculation: this.speculator.stats } : {}),
    };
  }
}

/** As if the row were alone in its cache. */
function statsOf({ cache, row }: BatchRow): CacheStats {
  const { seen, held, evicted, bytes, ...rest } = cache.stats();
  return { ...rest, seen: [seen[row]], held: [held[row]], evicted: [evicted[row]], bytes: bytes / cache.batch };
}
