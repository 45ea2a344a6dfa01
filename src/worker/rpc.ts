/**
 * @file Calls from one thread to another: each has a number, may emit events before it returns, takes input, and can be
 * aborted.
 */
import { InputError } from '../util/errors.ts';
import { Outbox } from './outbox.ts';
import { fromWire, type Port, type Request, type Response, Transfer, toWire } from './wire.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Called with what the call emits. */
  readonly onEvent?: (event: never) => void;
  /** Buffers among the arguments that are moved instead of copied. */
  readonly transfer?: ArrayBuffer[];
  /** Whether the call may be under way when the program ends. @default false */
  readonly background?: boolean;
}

interface PendingCall {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
  readonly onEvent: ((event: never) => void) | undefined;
  readonly background: boolean;
}

export interface Call<T> {
  readonly done: Promise<T>;
  send(input: unknown): void;
  abort(): void;
}

/** The side that calls. */
export class Caller {
  readonly #port: Port<Request>;
  readonly #pending = new Map<number, PendingCall>();
  /** Told whether any call is under way. */
  readonly #onBusy: (busy: boolean) => void;
  #next = 0;
  #ended: Error | null = null;

  constructor(port: Port<Request>, onBusy: (busy: boolean) => void = () => {}) {
    this.#port = port;
    this.#onBusy = onBusy;
  }

  /** A number that nothing else of this side has. */
  newId(): number {
    return this.#next++;
  }

  /**
   * Calls a method.
   * @returns what it returns, and a way to send it input.
   * @throws what it throws; the signal's reason once it has ended because of that.
   */
  call<T>(method: string, args: unknown, options: CallOptions = {}): Call<T> {
    const { signal, onEvent, transfer, background = false } = options;
    const id = this.newId();
    const abort = () => this.#post({ type: 'abort', id });
    const done = new Promise<T>((resolve, reject) => {
      if (this.#ended) throw this.#ended;
      signal?.throwIfAborted();
      this.#pending.set(id, { resolve, reject, onEvent, background });
      try {
        this.#port.postMessage({ type: 'call', id, method, args }, transfer);
      } catch (cause) {
        this.#pending.delete(id);
        throw new InputError(`what ${method} was given can't go to another thread: ${(cause as Error).message}`, {
          cause,
        });
      }
      signal?.addEventListener('abort', abort);
      this.#tellBusy();
    });
    const settled = done
      .catch((error: unknown) => {
        throw signal?.aborted ? signal.reason : error;
      })
      .finally(() => signal?.removeEventListener('abort', abort));
    // A caller that only reads events gets the error there.
    settled.catch(() => undefined);
    return { done: settled, send: (input) => this.#post({ type: 'input', id, input }), abort };
  }

  /** A message came. */
  receive(responses: readonly Response[]): void {
    for (const response of responses) {
      const call = this.#pending.get(response.id);
      if (!call) continue;
      if (response.type === 'event') {
        call.onEvent?.(response.event as never);
        continue;
      }
      this.#pending.delete(response.id);
      if (response.type === 'value') call.resolve(response.value as never);
      else call.reject(fromWire(response.error));
    }
    this.#tellBusy();
  }

  /** No answers will come: all calls fail, now and from now on. */
  end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #tellBusy(): void {
    this.#onBusy([...this.#pending.values()].some(({ background }) => !background));
  }

  #post(message: Request): void {
    if (!this.#ended) this.#port.postMessage(message);
  }
}

/** What a method gets besides its arguments. */
export interface CallContext {
  readonly signal: AbortSignal;
  /** Sends the caller something before the call returns. */
  emit(event: unknown): void;
  /** Says what takes the input of the call. */
  onInput(take: (input: never) => void): void;
}

/** Returns a value, or a {@link Transfer} of one. */
export type Method = (args: never, context: CallContext) => Promise<unknown>;

/** The side that answers: gives a function to be called with each message. */
export function answerer(
  port: Port<readonly Response[]>,
  methods: Readonly<Record<string, Method>>,
): (request: Request) => void {
  const outbox = new Outbox(port);
  const running = new Map<number, { readonly aborter: AbortController; take: (input: never) => void }>();
  const run = async (id: number, method: string, args: unknown): Promise<void> => {
    const call = { aborter: new AbortController(), take: (_: never) => {} };
    running.set(id, call);
    const context: CallContext = {
      signal: call.aborter.signal,
      emit: (event) => outbox.push({ type: 'event', id, event }),
      onInput: (take) => {
        call.take = take;
      },
    };
    try {
      const result = await methods[method](args as never, context);
      if (result instanceof Transfer) outbox.push({ type: 'value', id, value: result.value }, result.buffers);
      else outbox.push({ type: 'value', id, value: result });
    } catch (error) {
      outbox.push({ type: 'error', id, error: toWire(error) });
    } finally {
      running.delete(id);
    }
  };
  return (request) => {
    if (request.type === 'call') void run(request.id, request.method, request.args);
    else if (request.type === 'abort') running.get(request.id)?.aborter.abort();
    else running.get(request.id)?.take(request.input as never);
  };
}
