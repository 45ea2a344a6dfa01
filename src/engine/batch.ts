/**
 * @file Many requests at once: their rows share each run of the graph, come when there is room, and leave when they are done.
 */

import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { BatchRow, type RowOptions } from './batch-row.ts';
import type { DecoderModel } from './model.ts';
import type { FinishReason, GeneratedPiece, GenerationSummary } from './options.ts';
import { checkTokenIds, prefill } from './prefill.ts';
import { RequestQueue, type Source } from './request-queue.ts';
import { SharedBatch } from './shared-batch.ts';

/** A prompt with options of its own, over those of the batch. */
export interface BatchRequest extends RowOptions {
  /** What its events are marked with; unless stated, its number, from 0. */
  readonly id?: string | number;
}

/** What holds for all requests that do not say otherwise, and for the batch itself. */
export interface BatchOptions extends Omit<RowOptions, 'prompt' | 'messages' | 'cache'> {
  /** Options of the rows' caches. Rows with the same ones share their steps. */
  readonly cache?: Partial<AnyCacheOptions>;
  /** Rows at work at the same time; 8 unless stated. */
  readonly batchSize?: number;
  /** Ends all of them; a request's own signal ends that one. */
  readonly signal?: AbortSignal;
}

/** What happens to a request: some pieces of text, then one end or one error. */
export type BatchEvent =
  | ({ readonly type: 'piece'; readonly id: string | number } & GeneratedPiece)
  | { readonly type: 'end'; readonly id: string | number; readonly summary: GenerationSummary }
  /** Of this request alone; what it came to before, if it had begun. */
  | {
      readonly type: 'error';
      readonly id: string | number;
      readonly error: unknown;
      readonly summary: GenerationSummary | null;
    };

/** How a request ended. */
export type BatchResult = Exclude<BatchEvent, { type: 'piece' }>;

const BATCH_SIZE = 8;

/**
 * One run of {@link LanguageModel.generateBatch}: iterate over it for what happens, or await `done()`. It can be iterated once.
 *
 * Each round reads one chunk of one prompt and takes one step with all rows that write, so that those who write need not wait for
 * those who read. A prompt is read in a cache of its own; then its row is copied into the one that the rows of its kind share.
 */
export class BatchGeneration implements AsyncIterable<BatchEvent> {
  readonly #model: DecoderModel;
  readonly #options: BatchOptions;
  readonly #batchSize: number;
  readonly #intake: RequestQueue<BatchRequest | string>;
  readonly #ids = new Set<string | number>();
  #count = 0;
  #started = false;
  /** Prompts that are being read, the oldest first. */
  #reading: BatchRow[] = [];
  /** Rows that write, by the kind of their caches. */
  #lanes: SharedBatch<BatchRow>[] = [];

  /** @throws InputError */
  constructor(model: DecoderModel, requests: Source<BatchRequest | string>, options: BatchOptions) {
    if (
      typeof requests !== 'object' ||
      requests === null ||
      !(Symbol.iterator in requests || Symbol.asyncIterator in requests)
    )
      throw new InputError('generateBatch takes a list of requests, or something else to iterate over');
    const { batchSize = BATCH_SIZE } = options;
    this.#model = model;
    this.#options = options;
    this.#batchSize = wholeNumber('batchSize', batchSize);
    this.#intake = new RequestQueue(requests);
  }

  /**
   * Runs to the end.
   * @returns how each request ended, in the order in which they did.
   * @throws what ends the whole batch: an abort, or a defect of the model. A request's own errors are among the results.
   */
  async done(): Promise<BatchResult[]> {
    const results: BatchResult[] = [];
    for await (const event of this) if (event.type !== 'piece') results.push(event);
    return results;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<BatchEvent, void, undefined> {
    if (this.#started) throw new InputError('this batch was iterated already; call generateBatch again');
    this.#started = true;
    const { signal } = this.#options;
    try {
      for (;;) {
        signal?.throwIfAborted();
        yield* this.#acceptRequests();
        if (this.#rows.length === 0) {
          if (this.#intake.done) return;
          await this.#intake.wait(signal);
          continue;
        }
        yield* this.#endAborted();
        yield* this.#read();
        for (const lanes of this.#lanes) {
          signal?.throwIfAborted();
          yield* this.#step(lanes);
        }
        this.#lanes = this.#lanes.filter(({ all }) => all.length > 0);
      }
    } catch (error) {
      if (signal?.aborted) for (const row of this.#rows) yield await this.#end(row, 'aborted');
      throw error;
    } finally {
      this.#intake.close();
      // Whoever left the loop, or met a defect: caches that were handed in are given back as far as the text came.
      for (const row of this.#rows) await this.#leave(row, 'aborted').catch(() => undefined);
    }
  }

  /** All rows at work. */
  get #rows(): BatchRow[] {
    return [...this.#reading, ...this.#lanes.flatMap(({ all }) => all)];
  }

  /** New requests, as many as there is room for. */
  async *#acceptRequests(): AsyncGenerator<BatchEvent, void, undefined> {
    while (this.#rows.length < this.#batchSize) {
      const next = this.#intake.ready();
      if (!next) return;
      const request = typeof next.value === 'string' ? { prompt: next.value } : next.value;
      const id = request?.id ?? this.#count;
      this.#count++;
      try {
        if (this.#ids.has(id)) throw new InputError(`there is a request with the id ${id} already`);
        const { batchSize: _, signal: __, ...defaults } = this.#options;
        this.#reading.push(new BatchRow(this.#model, id, { ...defaults, ...request }));
        this.#ids.add(id);
      } catch (error) {
        yield { type: 'error', id, error, summary: null };
      }
    }
  }

  /** Requests whose own signal says so. */
  async *#endAborted(): AsyncGenerator<BatchEvent, void, undefined> {
    for (const row of this.#rows) if (row.signal?.aborted) yield await this.#end(row, 'aborted');
  }

  /** A chunk of the oldest prompt; when all of it was read, the row begins to write. */
  async *#read(): AsyncGenerator<BatchEvent, void, undefined> {
    const [row] = this.#reading;
    if (!row) return;
    try {
      const logits = await row.read();
      if (!logits) return;
      yield* this.#write(row, row.cache, 0, logits);
    } catch (error) {
      yield await this.#fail(row, error);
      return;
    }
    if (row.writer.finishReason) {
      yield await this.#end(row, row.writer.finishReason);
      return;
    }
    this.#reading.shift();
    let lanes = this.#lanes.find((some) => some.takes(row.cache));
    if (!lanes) {
      lanes = new SharedBatch(row.cache);
      this.#lanes.push(lanes);
    }
    lanes.join(row);
  }

  /** One step with all rows of one kind. */
  async *#step(lanes: SharedBatch<BatchRow>): AsyncGenerator<BatchEvent, void, undefined> {
    yield* this.#endUnfit(lanes);
    const { cache } = lanes;
    const rows = [...lanes.rows];
    if (rows.length === 0) return;
    const before = rows.map((_, lane) => cache.length(lane));
    const logits = new Map<BatchRow, Float32Array>();
    for (const [lane, row] of rows.entries())
      if (!this.#model.ropeFits(before[lane], before[lane] + row.speculator.chunk.length))
        logits.set(row, await this.#stepAlone(cache, lane, row));
    const chunk = rows.map((row) => (logits.has(row) ? [] : row.speculator.chunk));
    if (chunk.some((tokens) => tokens.length > 0)) {
      const result = await this.#model.step(cache, chunk, {
        logits: 'all',
        rowAdapters: rows.map(({ adapters }) => adapters),
        eachQuery: chunk.some((t) => t.length > 1),
      });
      const width = result.logits.length / chunk.reduce((sum, tokens) => sum + tokens.length, 0);
      let at = 0;
      for (const [lane, row] of rows.entries()) {
        const end = at + chunk[lane].length * width;
        if (end > at) logits.set(row, result.logits.subarray(at, end));
        at = end;
      }
    }
    for (const [lane, row] of rows.entries()) {
      try {
        yield* this.#write(row, cache, lane, row.speculator.accept(logits.get(row)!, before[lane]));
      } catch (error) {
        yield await this.#fail(row, error);
        continue;
      }
      if (row.writer.finishReason) yield await this.#end(row, row.writer.finishReason);
    }
  }

  async *#write(
    row: BatchRow,
    cache: KVCache,
    lane: number,
    logits: Float32Array,
  ): AsyncGenerator<BatchEvent, void, undefined> {
    for await (const piece of row.write(cache, lane, logits)) yield { type: 'piece', id: row.id, ...piece };
  }

  /** Seats those who join, and lets those go that have no room for another token. */
  async *#endUnfit(lanes: SharedBatch<BatchRow>): AsyncGenerator<BatchEvent, void, undefined> {
    lanes.compact();
    for (const [lane, row] of [...lanes.rows].entries()) {
      try {
        checkTokenIds(this.#model.config, lanes.cache, row.speculator.chunk, lane);
      } catch (error) {
        yield await this.#fail(row, error);
      }
    }
    lanes.compact();
  }

  /** A row whose longer sequence wants other rotations than its keys have is read anew, in a cache of its own. */
  async #stepAlone(cache: KVCache, lane: number, row: BatchRow): Promise<Float32Array> {
    const own = cache.recreate(1);
    own.copyRow(cache, lane, 0);
    const logits = await prefill(this.#model, own, row.speculator.chunk, { phase: 'decode', adapters: row.adapters });
    cache.copyRow(own, 0, lane);
    return logits;
  }

  async #fail(row: BatchRow, error: unknown): Promise<BatchEvent> {
    const summary = await this.#leave(row, 'error');
    return { type: 'error', id: row.id, error, summary };
  }

  async #end(row: BatchRow, reason: FinishReason): Promise<BatchEvent> {
    return { type: 'end', id: row.id, summary: await this.#leave(row, reason) };
  }

  async #leave(row: BatchRow, reason: FinishReason): Promise<GenerationSummary> {
    this.#ids.delete(row.id);
    this.#reading = this.#reading.filter((other) => other !== row);
    const lanes = this.#lanes.find(({ all }) => all.includes(row));
    const lane = lanes?.rows.indexOf(row) ?? -1;
    lanes?.leave(row);
    return lane < 0 ? row.end(row.cache, 0, reason) : row.end(lanes!.cache, lane, reason);
  }
}
