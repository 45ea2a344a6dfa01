/**
 * @file Patterns of Split and Replace, and what a split does with them.
 */
import { show } from '../util/json/show.ts';
import { Regex, RegexError } from '../util/regex/regex.ts';
import { fail, type Json, object } from './fields.ts';

/** Start and end of every match, one after the other. */
export type Finder = (text: string) => readonly number[];

/** @throws TokenizerError for what is no pattern. */
export function finder(part: Json): Finder {
  const { String: plain, Regex: regex } = object(part['pattern'], `the "pattern" of a ${part['type']}`);
  if (typeof regex === 'string') return regexFinder(regex);
  if (typeof plain !== 'string')
    fail(`the "pattern" of a ${part['type']} must have a "String" or a "Regex", but is ${show(part['pattern'])}`);
  return plainFinder(plain);
}

export function regexFinder(source: string): Finder {
  try {
    const regex = new Regex(source);
    return (text) => regex.matches(text);
  } catch (error) {
    if (error instanceof RegexError) fail(`${error.message}: ${show(source)}`);
    throw error;
  }
}

export function plainFinder(wanted: string): Finder {
  return (text) => {
    const found: number[] = [];
    if (wanted === '') return found;
    for (let at = text.indexOf(wanted); at >= 0; at = text.indexOf(wanted, at + wanted.length))
      found.push(at, at + wanted.length);
    return found;
  };
}

/** Every character that fits is a match of its own. */
export function charFinder(fits: RegExp): Finder {
  return (text) => {
    const found: number[] = [];
    for (let at = 0; at < text.length; ) {
      const char = String.fromCodePoint(text.codePointAt(at)!);
      if (fits.test(char)) found.push(at, at + char.length);
      at += char.length;
    }
    return found;
  };
}

export function replaceAll(text: string, find: Finder, content: string): string {
  const found = find(text);
  if (found.length === 0) return text;
  let out = '';
  let last = 0;
  for (let i = 0; i < found.length; i += 2) {
    out += text.slice(last, found[i]) + content;
    last = found[i + 1];
  }
  return out + text.slice(last);
}

export type Behavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';
export const BEHAVIORS: readonly Behavior[] = [
  'Removed',
  'Isolated',
  'MergedWithPrevious',
  'MergedWithNext',
  'Contiguous',
];

/** A part of a text: where it starts and ends, and whether it is a match. */
type Span = [start: number, end: number, isMatch: boolean];

/** Starts and ends of the pieces of a text; no piece is empty. */
export function splitSpans(text: string, find: Finder, behavior: Behavior, invert = false): readonly Span[] {
  const found = find(text);
  const spans: Span[] = [];
  let last = 0;
  for (let i = 0; i < found.length; i += 2) {
    const [start, end] = [found[i], found[i + 1]];
    if (start > last) spans.push([last, start, invert]);
    if (end > start) spans.push([start, end, !invert]);
    last = end;
  }
  if (last < text.length) spans.push([last, text.length, invert]);
  if (behavior === 'Isolated') return spans;
  if (behavior === 'Removed') return spans.filter(([, , isMatch]) => !isMatch);
  return merged(spans, behavior);
}

function merged(spans: readonly Span[], behavior: Behavior): Span[] {
  const joined: Span[] = [];
  spans.forEach((span, i) => {
    const before = spans[i - 1];
    const joins =
      behavior === 'Contiguous'
        ? before?.[2] === span[2]
        : behavior === 'MergedWithPrevious'
          ? span[2] && before !== undefined && !before[2]
          : before?.[2] && !span[2];
    if (joins) joined[joined.length - 1][1] = span[1];
    else joined.push([...span]);
  });
  return joined;
}
