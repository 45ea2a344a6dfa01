/**
 * @file Where an error was thrown, for a message about code of others.
 */

/** ` (at file:///…/mine.mjs:3:12)`: the first location in the error's stack; empty: there is none. */
export function locationOf(error: unknown): string {
  const stack = error instanceof Error ? (error.stack ?? '') : '';
  for (const line of stack.split('\n')) {
    // A syntax error has its location before its message.
    const [, location] = /^((?:file:|\/)\S*:\d+)$/.exec(line) ?? /^\s+at (?:.* \()?(\S+:\d+:\d+)\)?$/.exec(line) ?? [];
    if (location !== undefined && !location.startsWith('node:')) return ` (at ${location})`;
  }
  return '';
}
