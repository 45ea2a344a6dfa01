/**
 * @file Runs in the thread of a model, as the program follows them.
 */
import { type BatchEvent, BatchRun } from '../engine/batch/batch-run.ts';
import { checkSource, type Source } from '../engine/batch/request-queue.ts';
import type { BatchRequest, GenerationResult, TextChunk } from '../engine/options.ts';
import { TextRun } from '../engine/text-run.ts';
import { InputError } from '../util/errors.ts';
import { EventQueue } from './event-queue.ts';
import { type PlainContext, plain } from './plain.ts';
import type { BatchInput, BatchMessage, Outcome, PlainRequest } from './protocol.ts';
import type { Caller, CallOptions } from './rpc.ts';
import { fromWire, toWire } from './wire.ts';
import type { WorkerCache } from './worker-cache.ts';

/** As Generation of the library, whose text is written by another thread. */
export class WorkerGeneration extends TextRun {
  readonly #caller: Caller;
  readonly #args: unknown;
  readonly #signal: AbortSignal | undefined;
  readonly #onPrefill: ((done: number, total: number) => void) | undefined;
  #started = false;
  #partial: GenerationResult | null = null;
  #failure: { readonly error: unknown } | null = null;

  /** @internal */
  constructor(
    caller: Caller,
    args: unknown,
    signal: AbortSignal | undefined,
    onPrefill: ((done: number, total: number) => void) | undefined,
  ) {
    super();
    this.#caller = caller;
    this.#args = args;
    this.#signal = signal;
    this.#onPrefill = onPrefill;
  }

  /** What came of it, whole or not; null until the iteration has ended, and where the thread has crashed. */
  get partial(): GenerationResult | null {
    return this.#partial;
  }

  /** Runs to the end. @throws whatever ended it before its time. */
  async result(): Promise<GenerationResult> {
    if (!this.#partial && !this.#failure) for await (const _ of this);
    if (this.#failure) throw this.#failure.error;
    return this.#partial!;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<TextChunk, void, undefined> {
    if (this.#started) throw new InputError('this generation was iterated already; call generate again');
    this.#started = true;
    const chunks = new EventQueue<TextChunk>();
    const onEvent = (event: { readonly chunk?: TextChunk; readonly prefill?: [number, number] }) => {
      if (event.chunk) chunks.push(event.chunk);
      else if (event.prefill) this.#onPrefill?.(...event.prefill);
    };
    const call = this.#caller.call<Outcome>('generate', this.#args, { signal: this.#signal, onEvent } as CallOptions);
    call.done.then(
      () => chunks.end(),
      () => chunks.end(),
    );
    try {
      yield* chunks;
    } catch (error) {
      this.#failure = { error };
      throw error;
    } finally {
      // Leaving the loop ends the run; its cache is free once it has ended.
      if (!chunks.ended) call.abort();
      await this.#settle(call.done);
    }
    if (this.#failure) throw (this.#failure as { readonly error: unknown }).error;
  }

  async #settle(done: Promise<Outcome>): Promise<void> {
    try {
      const { result, error } = await done;
      this.#partial = result;
      if (error) this.#failure ??= { error: this.#signal?.aborted ? this.#signal.reason : fromWire(error) };
    } catch (error) {
      this.#failure ??= { error };
    }
  }
}

type Request = BatchRequest<WorkerCache> | string;

/** As BatchGeneration of the library, whose rows are written by another thread. */
export class WorkerBatch extends BatchRun {
  readonly #context: PlainContext;
  readonly #requests: Source<Request>;
  readonly #options: unknown;
  readonly #signal: AbortSignal | undefined;
  /** Of requests with a signal: ends listening to it. */
  readonly #unlisten = new Map<string | number, () => void>();
  #started = false;
  #count = 0;

  /** @internal */
  constructor(context: PlainContext, requests: Source<Request>, options: unknown, signal: AbortSignal | undefined) {
    super();
    checkSource(requests);
    this.#context = context;
    this.#requests = requests;
    this.#options = options;
    this.#signal = signal;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<BatchEvent, void, undefined> {
    if (this.#started) throw new InputError('this batch was iterated already; call generateBatch again');
    this.#started = true;
    const source = this.#requests;
    const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    const events = new EventQueue<BatchEvent>();
    const send = (input: BatchInput) => call.send(input);
    const onEvent = (message: BatchMessage) => {
      if (message.type === 'pull') void this.#next(iterator, send).then(send);
      else {
        const { event, error } = message;
        if (event.type !== 'text') this.#forget(event.id);
        events.push(error ? ({ ...event, error: fromWire(error) } as BatchEvent) : event);
      }
    };
    const options = { signal: this.#signal, onEvent } as CallOptions;
    const call = this.#context.caller.call<void>('generateBatch', { options: this.#options }, options);
    call.done.then(
      () => events.end(),
      () => events.end(),
    );
    let whole = false;
    try {
      yield* events;
      whole = true;
    } finally {
      if (!whole) call.abort();
      for (const id of [...this.#unlisten.keys()]) this.#forget(id);
      void Promise.resolve(iterator.return?.()).catch(() => undefined);
      if (!whole) await call.done.catch(() => undefined);
    }
    await call.done;
  }

  async #next(
    iterator: Iterator<Request> | AsyncIterator<Request>,
    send: (input: BatchInput) => void,
  ): Promise<BatchInput> {
    try {
      const { done, value } = await iterator.next();
      if (done) return { done: true };
      const { signal, ...request } = typeof value === 'string' ? { prompt: value, signal: undefined } : (value ?? {});
      const id = (request as BatchRequest).id ?? this.#count;
      this.#count++;
      const aborted = signal?.aborted ?? false;
      const onAbort = () => send({ abort: id });
      signal?.addEventListener('abort', onAbort);
      if (signal) this.#unlisten.set(id, () => signal.removeEventListener('abort', onAbort));
      return { request: { ...plain(request, this.#context), id } as PlainRequest, aborted };
    } catch (error) {
      return { error: toWire(error) };
    }
  }

  #forget(id: string | number): void {
    this.#unlisten.get(id)?.();
    this.#unlisten.delete(id);
  }
}
