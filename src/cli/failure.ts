/**
 * @file How a command ends: exit codes, and errors as one clear line.
 */
import { inspect } from 'node:util';
import { CommanderError } from 'commander';
import { CacheFullError, KeyholdError } from '../util/errors.ts';
import { type CliIo, Interrupted, OutputFailed, PipeClosed, shown, tell } from './io.ts';
import { styleOf } from './output/style.ts';

/** 0: done; 1: an error of files, of the hub, or of the input; 2: the command was called wrongly; 130: Ctrl-C. */
export const EXIT = { ok: 0, error: 1, usage: 2 } as const;

/** A message as one line, whatever a file that it quotes has in it. */
export function oneLine(message: string): string {
  return message.replace(/\s*\n\s*/g, ' ');
}

/** The command was called in a way that can't be meant. */
export class UsageError extends Error {
  /** Lines that are shown below the message. */
  readonly details: readonly string[];

  constructor(message: string, options?: ErrorOptions & { readonly details?: readonly string[] }) {
    super(message, options);
    this.details = options?.details ?? [];
  }
}

/**
 * Tells an error on stderr, and gives the exit code that belongs to it.
 * @param verbose with the stack, and all causes.
 */
export function tellFailure(io: CliIo, error: unknown, verbose: boolean): number {
  // Commander has told its own errors already, and ends after a --help with one, too.
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  const style = styleOf(io.stderr, io.env);
  const { reason } = io.signal;
  if (reason instanceof PipeClosed) return EXIT.ok;
  if (reason instanceof OutputFailed) return EXIT.error;
  if (reason instanceof Interrupted) {
    // Also takes the cursor from behind the terminal's "^C".
    tell(io, style.dim(reason.message));
    return reason.exitCode;
  }
  const expected = error instanceof KeyholdError || error instanceof UsageError;
  const message = oneLine(error instanceof Error ? error.message : String(error));
  tell(io, `${style.red('error:')} ${shown(message, io.stderr)}`);
  if (error instanceof CacheFullError) tell(io, '  on the command line: --cache-policy lastrec --cache-length 1024');
  if (error instanceof UsageError) for (const line of error.details) tell(io, `  ${line}`);
  if (verbose) tell(io, style.dim(inspect(error)));
  else if (!expected)
    tell(io, style.dim('This should not happen. Run it again with --verbose to see where it comes from.'));
  return error instanceof UsageError ? EXIT.usage : EXIT.error;
}
