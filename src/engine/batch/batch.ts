/**
 * @file `generateBatch`: requests from a list or a source, of which so many run together.
 */
import { MAX_BATCH } from '../../kvcache/options.ts';
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { leaveWhenDropped } from '../dropped.ts';
import type { DecoderModel } from '../model.ts';
import type { BatchOptions, BatchRequest } from '../options.ts';
import { checkBatch } from '../request-options.ts';
import type { Scheduler } from '../schedule/scheduler.ts';
import { Sequence, type SequenceEnd, type SequenceReader } from '../schedule/sequence.ts';
import { type BatchEvent, BatchRun } from './batch-run.ts';
import { checkSource, RequestQueue, type Source } from './request-queue.ts';

const BATCH_SIZE = 8;

/** One run of {@link LanguageModel.generateBatch}: iterate over it for what happens, or await `results()`. */
export class BatchGeneration extends BatchRun {
  readonly #scheduler: Scheduler;
  readonly #model: DecoderModel;
  readonly #options: BatchOptions;
  readonly #batchSize: number;
  readonly #requests: RequestQueue<BatchRequest | string>;
  readonly #sequences = new Map<string | number, Sequence>();
  readonly #events: BatchEvent[] = [];
  #count = 0;
  #started = false;
  #wake: (() => void) | null = null;

  /** @internal @throws InputError */
  constructor(
    scheduler: Scheduler,
    model: DecoderModel,
    requests: Source<BatchRequest | string>,
    options: BatchOptions,
  ) {
    super();
    checkSource(requests);
    checkBatch(options);
    this.#scheduler = scheduler;
    this.#model = model;
    this.#options = options;
    this.#batchSize = wholeNumber('batchSize', options.batchSize ?? BATCH_SIZE, 1, MAX_BATCH);
    this.#requests = new RequestQueue(requests, () => this.#tell());
  }

  [Symbol.asyncIterator](): AsyncGenerator<BatchEvent, void, undefined> {
    const sequences = this.#sequences;
    const leave = () => {
      for (const sequence of sequences.values()) void sequence.leave();
    };
    return leaveWhenDropped(this.#iterate(), leave);
  }

  async *#iterate(): AsyncGenerator<BatchEvent, void, undefined> {
    if (this.#started) throw new InputError('this batch was iterated already; call generateBatch again');
    this.#started = true;
    const { signal } = this.#options;
    const onAbort = () => this.#tell();
    signal?.addEventListener('abort', onAbort);
    try {
      for (;;) {
        signal?.throwIfAborted();
        while (this.#events.length > 0) yield this.#events.shift()!;
        if (signal?.aborted) continue;
        this.#acceptRequests();
        if (this.#events.length > 0) continue;
        if (this.#sequences.size < this.#batchSize && this.#requests.arrived) continue;
        if (this.#sequences.size === 0 && this.#requests.done) return;
        await this.#wait();
      }
    } catch (error) {
      if (!signal?.aborted) throw error;
      await this.#leaveAll();
      yield* this.#events.splice(0);
      throw error;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#requests.close();
      await this.#leaveAll();
    }
  }

  /** Takes new requests, as many as fit. */
  #acceptRequests(): void {
    while (this.#sequences.size < this.#batchSize) {
      const next = this.#requests.ready();
      if (!next) return;
      const request = typeof next.value === 'string' ? { prompt: next.value } : next.value;
      const id = request?.id ?? this.#count;
      this.#count++;
      try {
        if (this.#sequences.has(id)) throw new InputError(`there is a request with the id ${id} already`);
        const { batchSize: _, signal: __, ...defaults } = this.#options;
        const sequence = new Sequence(this.#model, { ...defaults, ...request }, this.#readerOf(id));
        this.#sequences.set(id, sequence);
        this.#scheduler.submit(sequence);
      } catch (error) {
        this.#events.push({ type: 'error', id, error, partial: null });
      }
    }
  }

  #readerOf(id: string | number): SequenceReader {
    const batch = this;
    return {
      get waits() {
        return batch.#wake !== null;
      },
      keepsCache: false,
      onChunk: (chunk) => this.#push({ type: 'text', id, ...chunk }),
      onEnd: (end) => {
        this.#sequences.delete(id);
        this.#push(endEvent(id, end));
      },
    };
  }

  /** Waits for an event, a request, or the signal. */
  async #wait(): Promise<void> {
    await new Promise<void>((wake) => {
      this.#wake = wake;
      if (this.#sequences.size < this.#batchSize) this.#requests.ask();
      for (const sequence of this.#sequences.values()) sequence.wake();
    });
  }

  #push(event: BatchEvent): void {
    this.#events.push(event);
    this.#tell();
  }

  #tell(): void {
    this.#wake?.();
    this.#wake = null;
  }

  /** Caches that were given get what was read and generated so far. */
  async #leaveAll(): Promise<void> {
    await Promise.all([...this.#sequences.values()].map((sequence) => sequence.leave()));
  }
}

function endEvent(id: string | number, { result, failure }: SequenceEnd): BatchEvent {
  // Its own signal ended it: that is what was asked for.
  if (!failure || result.finishReason === 'aborted') return { type: 'end', id, result };
  return { type: 'error', id, error: failure.error, partial: result };
}
