/**
 * @file Regular expressions in the notation of ECMA-262 with the flag u, which JSON Schema asks for.
 */
import { FormatError } from '../../util/errors.ts';
import { PatternCursor } from '../../util/regex/cursor.ts';
import { ALL_CODES, type CodeRanges, complement, normalized } from './characters.ts';

export type PatternNode =
  | { readonly kind: 'set'; readonly ranges: CodeRanges }
  | { readonly kind: 'sequence' | 'choice'; readonly parts: readonly PatternNode[] }
  | { readonly kind: 'repeat'; readonly part: PatternNode; readonly min: number; readonly max: number }
  | { readonly kind: 'look'; readonly part: PatternNode; readonly negated: boolean }
  | { readonly kind: 'start' | 'end' };

const MAX_LENGTH = 20_000;
const MAX_DEPTH = 100;
const DIGITS: CodeRanges = [[48, 57]];
const WORD: CodeRanges = [
  [48, 57],
  [65, 90],
  [95, 95],
  [97, 122],
];
const SPACE: CodeRanges = [
  [9, 13],
  [32, 32],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const LINE_ENDS: CodeRanges = [
  [10, 10],
  [13, 13],
  [0x2028, 0x2029],
];
const CLASSES: Readonly<Record<string, CodeRanges>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, 0: 0 };

const PROPERTIES = new Map<string, CodeRanges>();

/** @throws FormatError for what is no pattern, and for what can't be enforced. */
export function parsePattern(source: string): PatternNode {
  if (source.length > MAX_LENGTH)
    throw new FormatError(`a pattern has ${source.length} characters; at most ${MAX_LENGTH} are supported`);
  return new Parser(source).whole();
}

class Parser extends PatternCursor {
  readonly #source: string;
  #depth = 0;

  constructor(source: string) {
    super(source);
    this.#source = source;
  }

  whole(): PatternNode {
    const node = this.#choice();
    if (this.at < this.chars.length) throw this.#error('has a ) too many');
    return node;
  }

  #error(what: string): FormatError {
    const shown = this.#source.length > 80 ? `${this.#source.slice(0, 80)}…` : this.#source;
    return new FormatError(`the pattern ${JSON.stringify(shown)} ${what} (at character ${this.at})`);
  }

  #choice(): PatternNode {
    if (++this.#depth > MAX_DEPTH) throw this.#error(`is nested more than ${MAX_DEPTH} deep`);
    const parts = [this.#sequence()];
    while (this.skip('|')) parts.push(this.#sequence());
    this.#depth--;
    return parts.length === 1 ? parts[0] : { kind: 'choice', parts };
  }

  #sequence(): PatternNode {
    const parts: PatternNode[] = [];
    while (this.char !== undefined && this.char !== '|' && this.char !== ')')
      parts.push(this.#quantified(this.#atom()));
    return parts.length === 1 ? parts[0] : { kind: 'sequence', parts };
  }

  #quantified(part: PatternNode): PatternNode {
    const bounds = this.#bounds();
    if (!bounds) return part;
    if (part.kind === 'start' || part.kind === 'end' || part.kind === 'look')
      throw this.#error('repeats an assertion, which is not supported');
    // Lazy or not, the same texts match.
    this.skip('?');
    const [min, max] = bounds;
    if (min > max) throw this.#error(`repeats from ${min} to ${max} times`);
    return { kind: 'repeat', part, min, max };
  }

  #bounds(): readonly [number, number] | null {
    if (this.skip('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.skip('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.skip('?')) return [0, 1];
    const start = this.at;
    if (!this.skip('{')) return null;
    const min = this.digits();
    const max = this.skip(',') ? this.digits() : min;
    if (this.skip('}') && min !== '') return [Number(min), max === '' ? Number.POSITIVE_INFINITY : Number(max)];
    // Without the flag u, this is text.
    this.at = start;
    return null;
  }

  #atom(): PatternNode {
    const char = this.chars[this.at++];
    switch (char) {
      case '(':
        return this.#group();
      case '[':
        return { kind: 'set', ranges: this.#brackets() };
      case '.':
        return { kind: 'set', ranges: complement(LINE_ENDS) };
      case '^':
        return { kind: 'start' };
      case '$':
        return { kind: 'end' };
      case '\\':
        return { kind: 'set', ranges: this.#escape() };
      case '*':
      case '+':
      case '?':
        throw this.#error(`repeats nothing by ${char}`);
    }
    return { kind: 'set', ranges: single(char.codePointAt(0)!) };
  }

  #group(): PatternNode {
    if (this.skip('?=')) return { kind: 'look', part: this.#closed(), negated: false };
    if (this.skip('?!')) return { kind: 'look', part: this.#closed(), negated: true };
    if (this.skip('?<=') || this.skip('?<!')) throw this.#error('looks behind, which is not supported');
    if (this.skip('?:')) return this.#closed();
    if (this.skip('?<')) {
      while (/^[\p{ID_Continue}$]$/u.test(this.char ?? '')) this.at++;
      if (!this.skip('>')) throw this.#error('has a group whose name does not end');
    } else if (this.skip('?')) throw this.#error(`has a group (?${this.char ?? ''}, which is not supported`);
    return this.#closed();
  }

  #closed(): PatternNode {
    const node = this.#choice();
    if (!this.skip(')')) throw this.#error('has a group that is not closed');
    return node;
  }

  /** What follows a backslash. */
  #escape(inSet = false): CodeRanges {
    const char = this.chars[this.at++];
    if (char === undefined) throw this.#error('ends with a backslash');
    if (Object.hasOwn(CLASSES, char)) return CLASSES[char];
    if (char === 'p' || char === 'P') return this.#property(char === 'P');
    if (char === 'x') return single(this.#hex(2));
    if (char === 'u') return single(this.#unicode());
    if (char === 'c' && /^[A-Za-z]$/.test(this.char ?? '')) return single(this.chars[this.at++].charCodeAt(0) % 32);
    if (inSet && char === 'b') return single(8);
    if (char === '0' && /^[0-9]$/.test(this.char ?? ''))
      throw this.#error('has an octal escape, which is not supported');
    if (Object.hasOwn(CONTROLS, char)) return single(CONTROLS[char]);
    if (char === 'b' || char === 'B') throw this.#error(`uses \\${char}, which is not supported`);
    if (/^[1-9k]$/.test(char)) throw this.#error('refers back to a group, which is not supported');
    if (/^[A-Za-z]$/.test(char)) throw this.#error(`uses \\${char}, which there is not`);
    return single(char.codePointAt(0)!);
  }

  #unicode(): number {
    if (this.skip('{')) {
      let digits = '';
      while (/^[\da-fA-F]$/.test(this.char ?? '') && digits.length < 8) digits += this.chars[this.at++];
      const code = Number.parseInt(digits, 16);
      if (!this.skip('}') || !(code <= 0x10ffff)) throw this.#error('has a character code that is none');
      return code;
    }
    const high = this.#hex(4);
    if (high < 0xd800 || high >= 0xdc00 || !this.skip('\\u')) return high;
    return 0x10000 + (high - 0xd800) * 0x400 + (this.#hex(4) - 0xdc00);
  }

  #hex(length: number): number {
    const digits = this.chars.slice(this.at, this.at + length).join('');
    if (digits.length !== length || !/^[\da-fA-F]+$/.test(digits))
      throw this.#error('has a character code that is none');
    this.at += length;
    return Number.parseInt(digits, 16);
  }

  #property(negated: boolean): CodeRanges {
    let name = '';
    if (!this.skip('{')) throw this.#error('has a property without a name');
    while (this.char !== undefined && this.char !== '}') name += this.chars[this.at++];
    this.at++;
    const ranges = propertyRanges(name);
    if (!ranges) throw this.#error(`uses the property ${JSON.stringify(name)}, which there is not`);
    return negated ? complement(ranges) : ranges;
  }

  /** The rest of a set in brackets. */
  #brackets(): CodeRanges {
    const negated = this.skip('^');
    const ranges: (readonly [number, number])[] = [];
    while (!this.skip(']')) {
      if (this.char === undefined) throw this.#error('has a set that is not closed');
      const from = this.#member();
      if (this.char !== '-' || this.chars[this.at + 1] === ']' || from.length !== 1 || from[0][0] !== from[0][1]) {
        ranges.push(...from);
        continue;
      }
      this.at++;
      const to = this.#member();
      if (to.length !== 1 || to[0][0] !== to[0][1]) {
        // Without the flag u, the hyphen is itself.
        ranges.push(...from, ...single(45), ...to);
        continue;
      }
      if (to[0][0] < from[0][0]) throw this.#error('has a range whose end is before its start');
      ranges.push([from[0][0], to[0][0]]);
    }
    return negated ? complement(ranges) : normalized(ranges);
  }

  #member(): CodeRanges {
    const char = this.chars[this.at++];
    if (char === undefined) throw this.#error('has a set that is not closed');
    return char === '\\' ? this.#escape(true) : single(char.codePointAt(0)!);
  }
}

function single(code: number): CodeRanges {
  return [[code, code]];
}

/** The characters of a Unicode property: all are tried, once a property. */
function propertyRanges(name: string): CodeRanges | null {
  if (!/^[\w=]{1,60}$/.test(name)) return null;
  const known = PROPERTIES.get(name);
  if (known) return known;
  let pattern: RegExp;
  try {
    pattern = new RegExp(`^\\p{${name}}$`, 'u');
  } catch {
    return null;
  }
  const ranges: [number, number][] = [];
  for (let code = 0; code <= ALL_CODES[0][1]; code++) {
    if (code === 0xd800) code = 0xe000;
    if (!pattern.test(String.fromCodePoint(code))) continue;
    const last = ranges.at(-1);
    if (last && last[1] === code - 1) last[1] = code;
    else ranges.push([code, code]);
  }
  PROPERTIES.set(name, ranges);
  return ranges;
}
