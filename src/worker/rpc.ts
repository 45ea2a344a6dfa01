/**
 * @file Calls from one thread to another: each has a number, may tell of events before it returns, takes input, and can be aborted.
 */
import { InputError } from '../util/errors.ts';
import { fromWire, type Port, type Request, type Response, toWire } from './wire.ts';

export interface CallOptions {
  readonly signal?: AbortSignal;
  /** Told what the call tells on its way. */
  readonly onEvent?: (event: never) => void;
}

interface Pending {
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
  readonly onEvent: ((event: never) => void) | undefined;
}

/** The side that calls. */
export class Caller {
  readonly #port: Port<Request>;
  readonly #pending = new Map<number, Pending>();
  /** Told whether any call is under way. */
  readonly #onBusy: (busy: boolean) => void;
  #next = 0;
  #ended: Error | null = null;

  constructor(port: Port<Request>, onBusy: (busy: boolean) => void) {
    this.#port = port;
    this.#onBusy = onBusy;
  }

  /**
   * Calls a method.
   * @returns what it returns, and a way to send it input.
   * @throws what it throws; the signal's reason once it has ended because of that.
   */
  call<T>(
    method: string,
    args: unknown,
    options: CallOptions = {},
  ): { done: Promise<T>; send(input: unknown): void; abort(): void } {
    const { signal, onEvent } = options;
    const id = this.#next++;
    const abort = () => this.#post({ type: 'abort', id });
    const done = new Promise<T>((resolve, reject) => {
      if (this.#ended) throw this.#ended;
      signal?.throwIfAborted();
      this.#pending.set(id, { resolve, reject, onEvent });
      try {
        this.#port.postMessage({ type: 'call', id, method, args });
      } catch (cause) {
        this.#pending.delete(id);
        throw new InputError(`what ${method} was given can't go to another thread: ${(cause as Error).message}`, {
          cause,
        });
      }
      signal?.addEventListener('abort', abort);
      this.#onBusy(true);
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
  receive(response: Response): void {
    const call = this.#pending.get(response.id);
    if (!call) return;
    if (response.type === 'event') {
      call.onEvent?.(response.event as never);
      return;
    }
    this.#pending.delete(response.id);
    if (this.#pending.size === 0) this.#onBusy(false);
    if (response.type === 'value') call.resolve(response.value as never);
    else call.reject(fromWire(response.error));
  }

  /** No answers will come: all calls fail, now and from now on. */
  end(error: Error): void {
    if (this.#ended) return;
    this.#ended = error;
    for (const { reject } of this.#pending.values()) reject(error);
    this.#pending.clear();
  }

  #post(message: Request): void {
    if (!this.#ended) this.#port.postMessage(message);
  }
}

/** What a method gets besides its arguments. */
export interface CallContext {
  readonly signal: AbortSignal;
  /** Tells the caller something on the way. */
  emit(event: unknown): void;
  /** Says which call gets input. */
  onInput(take: (input: never) => void): void;
}

export type Method = (args: never, context: CallContext) => Promise<unknown>;

/** The side that answers: gives a function to be called with each message. */
export function answerer(port: Port<Response>, methods: Readonly<Record<string, Method>>): (request: Request) => void {
  const running = new Map<number, { readonly aborter: AbortController; take: (input: never) => void }>();
  const run = async (id: number, method: string, args: unknown): Promise<void> => {
    const call = { aborter: new AbortController(), take: (_: never) => {} };
    running.set(id, call);
    const context: CallContext = {
      signal: call.aborter.signal,
      emit: (event) => port.postMessage({ type: 'event', id, event }),
      onInput: (take) => {
        call.take = take;
      },
    };
    try {
      port.postMessage({ type: 'value', id, value: await methods[method](args as never, context) });
    } catch (error) {
      port.postMessage({ type: 'error', id, error: toWire(error) });
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
