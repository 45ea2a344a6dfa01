/**
 * @file Sets of characters as terms of UTF-8, for plain text and for text within a JSON string.
 */
import type { Term, Terms } from './terms.ts';

/** First and last code point of each range, ascending, not overlapping. */
export type CodeRanges = readonly (readonly [first: number, last: number])[];

export const ALL_CODES: CodeRanges = [[0, 0x10ffff]];

/** Sorted and joined. */
export function normalized(ranges: CodeRanges): CodeRanges {
  const sorted = [...ranges].sort((a, b) => a[0] - b[0]);
  const joined: [number, number][] = [];
  for (const [first, last] of sorted) {
    const before = joined.at(-1);
    if (before && first <= before[1] + 1) before[1] = Math.max(before[1], last);
    else joined.push([first, last]);
  }
  return joined;
}

export function complement(ranges: CodeRanges): CodeRanges {
  const out: [number, number][] = [];
  let from = 0;
  for (const [first, last] of normalized(ranges)) {
    if (first > from) out.push([from, first - 1]);
    from = last + 1;
  }
  if (from <= 0x10ffff) out.push([from, 0x10ffff]);
  return out;
}

function intersect(a: CodeRanges, b: CodeRanges): CodeRanges {
  return complement([...complement(a), ...complement(b)]);
}

/** How characters of one kind of text are written. */
export interface Characters {
  readonly terms: Terms;
  /** A character of a set. */
  of(ranges: CodeRanges): Term;
}

/** Characters as they are, in UTF-8. Halves of surrogate pairs have none. */
export class PlainCharacters implements Characters {
  readonly #made = new Map<string, Term>();
  readonly terms: Terms;

  constructor(terms: Terms) {
    this.terms = terms;
  }

  of(ranges: CodeRanges): Term {
    const key = ranges.join();
    let term = this.#made.get(key);
    if (!term) {
      term = this.terms.or(...normalized(ranges).flatMap(([first, last]) => utf8(this.terms, first, last)));
      this.#made.set(key, term);
    }
    return term;
  }
}

const SHORT_ESCAPES: Readonly<Record<number, string>> = {
  8: '\\b',
  9: '\\t',
  10: '\\n',
  12: '\\f',
  13: '\\r',
  34: '\\"',
  92: '\\\\',
};

/**
 * Characters within a JSON string, each in one way only: as JSON.stringify writes it. So different texts are different
 * strings, and a string can be excluded.
 */
export class JsonCharacters implements Characters {
  readonly #made = new Map<string, Term>();
  readonly #plain: PlainCharacters;
  readonly terms: Terms;

  constructor(terms: Terms) {
    this.terms = terms;
    this.#plain = new PlainCharacters(terms);
  }

  of(ranges: CodeRanges): Term {
    const key = ranges.join();
    let term = this.#made.get(key);
    if (!term) {
      const plain = intersect(ranges, [
        [0x20, 0x21],
        [0x23, 0x5b],
        [0x5d, 0x10ffff],
      ]);
      const escapes = intersect(ranges, [
        [0, 0x1f],
        [0x22, 0x22],
        [0x5c, 0x5c],
      ]).flatMap(([first, last]) => Array.from({ length: last - first + 1 }, (_, i) => escaped(first + i)));
      term = this.terms.or(this.#plain.of(plain), this.terms.texts(escapes));
      this.#made.set(key, term);
    }
    return term;
  }
}

function escaped(code: number): string {
  return SHORT_ESCAPES[code] ?? `\\u${code.toString(16).padStart(4, '0')}`;
}

/** UTF-8 of a range of code points, as alternatives. */
function utf8(terms: Terms, first: number, last: number): Term[] {
  const out: Term[] = [];
  for (const [low, high] of [
    [0, 0x7f],
    [0x80, 0x7ff],
    [0x800, 0xd7ff],
    [0xe000, 0xffff],
    [0x10000, 0x10ffff],
  ]) {
    const [from, to] = [Math.max(first, low), Math.min(last, high)];
    if (from <= to) out.push(sequences(terms, bytesOf(from), bytesOf(to)));
  }
  return out;
}

function bytesOf(code: number): readonly number[] {
  return [...new TextEncoder().encode(String.fromCodePoint(code))];
}

/** Sequences of the same length from one to another. */
function sequences(terms: Terms, from: readonly number[], to: readonly number[]): Term {
  const [first, last] = [from[0], to[0]];
  if (from.length === 1) return terms.bytes(first, last);
  const rest = from.slice(1);
  const [lowest, highest] = [rest.map(() => 0x80), rest.map(() => 0xbf)];
  const after = (byte: number, low: readonly number[], high: readonly number[]) =>
    terms.concat(terms.bytes(byte, byte), sequences(terms, low, high));
  if (first === last) return after(first, rest, to.slice(1));
  const isLowest = rest.every((byte) => byte === 0x80);
  const isHighest = to.slice(1).every((byte) => byte === 0xbf);
  const [begin, end] = [isLowest ? first : first + 1, isHighest ? last : last - 1];
  return terms.or(
    isLowest ? terms.none : after(first, rest, highest),
    begin <= end ? terms.concat(terms.bytes(begin, end), sequences(terms, lowest, highest)) : terms.none,
    isHighest ? terms.none : after(last, lowest, to.slice(1)),
  );
}
