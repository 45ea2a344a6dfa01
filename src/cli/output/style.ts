/**
 * @file Colour, where it is wanted: on terminals, or as NO_COLOR and FORCE_COLOR say.
 */
import type { CliIo, OutStream } from '../io.ts';

const CODES = {
  bold: [1, 22],
  dim: [2, 22],
  red: [31, 39],
  green: [32, 39],
  yellow: [33, 39],
  cyan: [36, 39],
} as const;

/** Functions that put a text in a colour, or leave it as it is. */
export type Style = Readonly<Record<keyof typeof CODES, (text: string) => string>>;

/** The style of one stream. */
export function styleOf(stream: OutStream, env: CliIo['env']): Style {
  const on = wantsColour(stream, env);
  const entries = Object.entries(CODES).map(([name, [open, close]]) => [
    name,
    (text: string) => (on && text !== '' ? `\x1b[${open}m${text}\x1b[${close}m` : text),
  ]);
  return Object.fromEntries(entries) as Style;
}

/** FORCE_COLOR is the stronger one, as in Node itself (https://force-color.org, https://no-color.org). */
export function wantsColour(stream: OutStream, env: CliIo['env']): boolean {
  const force = env['FORCE_COLOR'];
  if (force !== undefined) return force !== '0' && force !== 'false';
  if (env['NO_COLOR']) return false;
  return stream.isTTY === true && env['TERM'] !== 'dumb';
}
