/**
 * @file What a command reads and writes: streams, environment, and the signal that ends it. Tests give their own.
 */
import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import { wrapLine } from './output/wrap.ts';

/** A stream that text is written to; on a terminal it has a width. */
export type OutStream = Writable & { readonly isTTY?: boolean; readonly columns?: number };

export interface CliIo {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  /** For results only. */
  readonly stdout: OutStream;
  /** For everything that is said about them. */
  readonly stderr: OutStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted with {@link Interrupted} by Ctrl-C, with {@link PipeClosed} when the reader of stdout has closed it. */
  readonly signal: AbortSignal;
  /** A handler of Ctrl-C; while it is set, {@link signal} is not aborted by Ctrl-C. */
  readonly interrupts?: { handler: (() => void) | null };
}

/** Ctrl-C was pressed, or the system asked the process to end. */
export class Interrupted extends Error {
  readonly exitCode: number;
  constructor(exitCode: number) {
    super('interrupted');
    this.exitCode = exitCode;
  }
}

/** The reader of stdout has gone, as `head` does when it has its lines. */
export class PipeClosed extends Error {}

/** The results can't be written, e.g. because a disk is full. It is told where it is noticed. */
export class OutputFailed extends Error {}

/**
 * Text of models and checkpoints as it may be shown on this stream: on a terminal without control characters, which
 * could do anything to it.
 */
export function shown(text: string, stream: OutStream): string {
  return stream.isTTY ? text.replace(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, '\uFFFD') : text;
}

/** Writes text, and waits where the reader is slower than the writer. */
export async function write(io: CliIo, text: string): Promise<void> {
  if (text !== '' && !io.stdout.write(text)) await once(io.stdout, 'drain', { signal: io.signal });
}

/** Writes a line to stderr; on a terminal it is broken between words. */
export function tell(io: CliIo, line = ''): void {
  io.stderr.write(`${io.stderr.isTTY ? wrapLine(line, widthOf(io.stderr)) : line}\n`);
}

/** Columns of a terminal; 80 where the number is not known. A terminal of unknown size says 0. */
export function widthOf(stream: OutStream): number {
  return stream.columns || 80;
}
