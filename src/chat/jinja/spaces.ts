/**
 * @file Python's white space: U+FEFF is none, and the separators U+001C to U+001F are.
 */

/** As part of a character class. */
export const SPACES = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const SPACE = new RegExp(`[${SPACES}]`);
const isSpaceUnit = (unit: number): boolean =>
  unit < 0x80
    ? unit === 32 || (unit >= 9 && unit <= 13) || (unit >= 28 && unit <= 31)
    : SPACE.test(String.fromCharCode(unit));

/** Index of the first character that is no white space. */
export function spaceEnd(text: string, from = 0): number {
  let at = from;
  while (at < text.length && isSpaceUnit(text.charCodeAt(at))) at++;
  return at;
}

export const trimStartSpaces = (text: string): string => text.slice(spaceEnd(text));

/** A loop, for `[spaces]+$` takes quadratic time. */
export function trimEndSpaces(text: string): string {
  let end = text.length;
  while (end > 0 && isSpaceUnit(text.charCodeAt(end - 1))) end--;
  return text.slice(0, end);
}

export const isAllSpace = (text: string): boolean => text !== '' && spaceEnd(text) === text.length;
