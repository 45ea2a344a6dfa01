/**
 * @file What crosses the border between threads: messages, and errors that keep their types.
 */
import * as errors from '../util/errors.ts';

/** From the program to the thread. */
export type Request =
  | { readonly type: 'call'; readonly id: number; readonly method: string; readonly args: unknown }
  | { readonly type: 'input'; readonly id: number; readonly input: unknown }
  | { readonly type: 'abort'; readonly id: number };

/** From the thread to the program. */
export type Response =
  | { readonly type: 'event'; readonly id: number; readonly event: unknown }
  | { readonly type: 'value'; readonly id: number; readonly value: unknown }
  | { readonly type: 'error'; readonly id: number; readonly error: WireError };

/** One end of a channel: a MessagePort, a Worker, or what has their method. */
export interface Port<Out> {
  postMessage(message: Out, transfer?: ArrayBuffer[]): void;
}

/** A value whose buffers are moved to the other side, not copied. */
export class Transfer {
  readonly value: unknown;
  readonly buffers: ArrayBuffer[];

  constructor(value: unknown, buffers: ArrayBuffer[]) {
    this.value = value;
    this.buffers = buffers;
  }

  /** Bytes that own their buffer are moved; a part of a larger buffer is copied. */
  static ofBytes(bytes: Uint8Array): Transfer {
    const own = bytes.byteLength === bytes.buffer.byteLength && bytes.buffer instanceof ArrayBuffer;
    const moved = own ? bytes : bytes.slice();
    return new Transfer(moved, [moved.buffer as ArrayBuffer]);
  }
}

export interface WireError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly status: number | undefined;
  readonly cause: WireError | null;
}

type Made = new (message: string, ...rest: never[]) => errors.KeyholdError;

/** All classes of errors.ts, by name. */
const CLASSES = new Map<string, Made>(
  Object.entries(errors).flatMap(([name, made]) => (name === 'KeyholdError' ? [] : [[name, made as Made]])),
);
/** Causes of causes further down than this tell nothing more. */
const MOST_CAUSES = 4;

export function toWire(error: unknown, depth = 0): WireError {
  if (!(error instanceof Error))
    return { name: 'Error', message: String(error), stack: undefined, status: undefined, cause: null };
  const { name, message, stack, cause } = error;
  const { status } = error as { readonly status?: unknown };
  return {
    name,
    message,
    stack,
    status: typeof status === 'number' ? status : undefined,
    cause: cause === undefined || depth >= MOST_CAUSES ? null : toWire(cause, depth + 1),
  };
}

/** The error as it was thrown there: of its class, with its message, its stack and its causes. */
export function fromWire({ name, message, stack, status, cause }: WireError): Error {
  const made = CLASSES.get(name);
  const error = made ? new made(message) : new Error(message);
  if (!made) error.name = name;
  if (status !== undefined) Object.assign(error, { status });
  if (stack !== undefined) error.stack = stack;
  if (cause) error.cause = fromWire(cause);
  return error;
}
