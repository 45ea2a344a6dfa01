/**
 * @file Regular expressions in the notation of Oniguruma, which Hugging Face's tokenizers use: what there is of it in
 * published files. No back references, no recursion, no captures.
 */
import {
  allOf,
  anyOf,
  between,
  type CharSet,
  CLASSES,
  ignoringCase,
  not,
  posixSet,
  property,
  single,
} from './char-set.ts';
import { PatternCursor } from './cursor.ts';

export type Node =
  | { readonly kind: 'set'; readonly set: CharSet }
  | { readonly kind: 'sequence' | 'choice'; readonly parts: readonly Node[] }
  | {
      readonly kind: 'repeat';
      readonly part: Node;
      readonly min: number;
      readonly max: number;
      readonly mode: 'greedy' | 'lazy' | 'possessive';
    }
  | { readonly kind: 'look'; readonly part: Node; readonly behind: boolean; readonly negated: boolean }
  | { readonly kind: 'atomic'; readonly part: Node }
  | { readonly kind: 'assert'; readonly what: Assertion };

export type Assertion = 'line-start' | 'line-end' | 'text-start' | 'text-end' | 'last-line-end' | 'word' | 'no-word';

/** A pattern that can't be read, or asks for what is not supported. */
export class RegexError extends Error {}

const MAX_DEPTH = 200;
const ESCAPES: Readonly<Record<string, number>> = { n: 10, t: 9, r: 13, f: 12, v: 11, a: 7, e: 27, 0: 0 };
const ASSERTIONS: Readonly<Record<string, Assertion>> = {
  A: 'text-start',
  z: 'text-end',
  Z: 'last-line-end',
  b: 'word',
  B: 'no-word',
};

interface Flags {
  readonly ignoreCase: boolean;
  /** `.` matches line breaks. */
  readonly dotAll: boolean;
}

/** @throws RegexError */
export function parseRegex(source: string): Node {
  return new Parser(source).whole();
}

class Parser extends PatternCursor {
  #depth = 0;
  #flags: Flags = { ignoreCase: false, dotAll: false };

  whole(): Node {
    const node = this.#choice();
    if (this.at < this.chars.length) throw this.#error('has a ) too many');
    return node;
  }

  #error(what: string): RegexError {
    return new RegexError(`the pattern ${what} (at character ${this.at})`);
  }

  #choice(): Node {
    if (++this.#depth > MAX_DEPTH) throw this.#error(`is nested more than ${MAX_DEPTH} deep`);
    const before = this.#flags;
    const parts = [this.#sequence()];
    while (this.skip('|')) parts.push(this.#sequence());
    this.#flags = before;
    this.#depth--;
    return parts.length === 1 ? parts[0] : { kind: 'choice', parts };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    while (this.char !== undefined && this.char !== '|' && this.char !== ')') {
      const atom = this.#atom();
      if (atom) parts.push(this.#quantified(atom));
    }
    return parts.length === 1 ? parts[0] : { kind: 'sequence', parts };
  }

  #quantified(atom: Node): Node {
    let node = atom;
    for (;;) {
      const start = this.at;
      const bounds = this.#bounds();
      if (!bounds) {
        this.at = start;
        return node;
      }
      const [min, max, isInterval] = bounds;
      const lazy = this.skip('?');
      // Behind an interval a + repeats once more.
      const possessive = !lazy && !isInterval && this.skip('+');
      node = { kind: 'repeat', part: node, min, max, mode: lazy ? 'lazy' : possessive ? 'possessive' : 'greedy' };
    }
  }

  #bounds(): readonly [min: number, max: number, isInterval: boolean] | null {
    if (this.skip('*')) return [0, Number.POSITIVE_INFINITY, false];
    if (this.skip('+')) return [1, Number.POSITIVE_INFINITY, false];
    if (this.skip('?')) return [0, 1, false];
    if (!this.skip('{')) return null;
    const min = this.digits();
    const comma = this.skip(',');
    const max = comma ? this.digits() : min;
    if (!this.skip('}') || (min === '' && max === '')) return null;
    const [low, high] = [Number(min), max === '' ? Number.POSITIVE_INFINITY : Number(max)];
    if (low > 1000 || (high > 1000 && high !== Number.POSITIVE_INFINITY))
      throw this.#error('repeats more than 1000 times');
    if (low > high) throw this.#error(`repeats from ${low} to ${high} times`);
    return [low, high, true];
  }

  /** null for what matches nothing of itself, such as a comment. */
  #atom(): Node | null {
    const char = this.chars[this.at++];
    switch (char) {
      case '(':
        return this.#group();
      case '[':
        return this.#set(this.#brackets());
      case '.':
        return { kind: 'set', set: this.#flags.dotAll ? () => true : not(single(10)) };
      case '^':
        return { kind: 'assert', what: 'line-start' };
      case '$':
        return { kind: 'assert', what: 'line-end' };
      case '\\':
        if (this.char !== undefined && Object.hasOwn(ASSERTIONS, this.char))
          return { kind: 'assert', what: ASSERTIONS[this.chars[this.at++]] };
        return this.#set(this.#escape());
      case '*':
      case '+':
      case '?':
        this.at--;
        throw this.#error(`repeats nothing by ${char}`);
    }
    return this.#set(single(char.codePointAt(0)!));
  }

  #set(set: CharSet): Node {
    return { kind: 'set', set: this.#flags.ignoreCase ? ignoringCase(set) : set };
  }

  #group(): Node | null {
    if (!this.skip('?')) return this.#closed(this.#choice());
    if (this.skip('#')) {
      while (this.char !== undefined && this.char !== ')') this.at++;
      if (!this.skip(')')) throw this.#error('has a comment that is not closed');
      return null;
    }
    if (this.skip(':')) return this.#closed(this.#choice());
    if (this.skip('>')) return { kind: 'atomic', part: this.#closed(this.#choice()) };
    for (const [mark, behind, negated] of [
      ['=', false, false],
      ['!', false, true],
      ['<=', true, false],
      ['<!', true, true],
    ] as const)
      if (this.skip(mark)) return { kind: 'look', part: this.#closed(this.#choice()), behind, negated };
    if (this.skip('<') || this.skip('P<')) {
      while (/^[\p{L}\p{N}_]$/u.test(this.char ?? '')) this.at++;
      if (!this.skip('>')) throw this.#error('has a group whose name does not end');
      return this.#closed(this.#choice());
    }
    return this.#flagGroup();
  }

  #flagGroup(): Node | null {
    const before = this.#flags;
    let on = true;
    let flags = before;
    for (; ; this.at++) {
      const flag = this.char;
      if (flag === '-') on = false;
      else if (flag === 'i') flags = { ...flags, ignoreCase: on };
      else if (flag === 'm' || flag === 's') flags = { ...flags, dotAll: on };
      else break;
    }
    if (this.skip(')')) {
      // For the rest of the group around it, which restores them.
      this.#flags = flags;
      return null;
    }
    if (!this.skip(':')) throw this.#error(`has a group (?${this.char ?? ''} that is not supported`);
    this.#flags = flags;
    const node = this.#closed(this.#choice());
    this.#flags = before;
    return node;
  }

  #closed(node: Node): Node {
    if (!this.skip(')')) throw this.#error('has a group that is not closed');
    return node;
  }

  /** What follows a backslash. */
  #escape(): CharSet {
    const char = this.chars[this.at++];
    if (char === undefined) throw this.#error('ends with a backslash');
    if (Object.hasOwn(CLASSES, char)) return CLASSES[char];
    if (char === 'p' || char === 'P') return this.#property(char === 'P');
    if (char === 'x' || char === 'u') return single(this.#hex(char === 'x' ? 2 : 4));
    if (Object.hasOwn(ESCAPES, char)) return single(ESCAPES[char]);
    if (/^[A-Za-z1-9]$/.test(char)) throw this.#error(`uses \\${char}, which is not supported`);
    return single(char.codePointAt(0)!);
  }

  #property(negated: boolean): CharSet {
    let name = '';
    if (this.skip('{')) {
      while (this.char !== undefined && this.char !== '}') name += this.chars[this.at++];
      if (!this.skip('}')) throw this.#error('has a property that is not closed');
    } else name = this.chars[this.at++] ?? '';
    const isNegated = name.startsWith('^');
    const set = /^\^?[\w= ]+$/.test(name) ? property(isNegated ? name.slice(1) : name) : undefined;
    if (!set) throw this.#error(`uses the property ${JSON.stringify(name)}, which there is not`);
    return negated !== isNegated ? not(set) : set;
  }

  #hex(length: number): number {
    let digits = '';
    const braced = this.skip('{');
    while (/^[\da-fA-F]$/.test(this.char ?? '') && (braced ? digits.length < 8 : digits.length < length))
      digits += this.chars[this.at++];
    const code = Number.parseInt(digits, 16);
    if ((braced && !this.skip('}')) || !(code <= 0x10ffff)) throw this.#error('has a character code that is none');
    return code;
  }

  /** The rest of a set in brackets. */
  #brackets(): CharSet {
    if (++this.#depth > MAX_DEPTH) throw this.#error(`is nested more than ${MAX_DEPTH} deep`);
    const negated = this.skip('^');
    const operands: CharSet[][] = [[]];
    for (let first = true; first || this.char !== ']'; first = false) {
      if (this.char === undefined) throw this.#error('has a set that is not closed');
      if (this.skip('&&')) operands.push([]);
      else operands.at(-1)!.push(this.#member());
    }
    this.at++;
    this.#depth--;
    const set = operands.length === 1 ? anyOf(operands[0]) : allOf(operands.map(anyOf));
    // Unlike the set, its negation must keep to the same case rules.
    const folded = this.#flags.ignoreCase ? ignoringCase(set) : set;
    return negated ? not(folded) : folded;
  }

  #member(): CharSet {
    if (this.skip('[:')) {
      const negated = this.skip('^');
      let name = '';
      while (/^[a-z]$/.test(this.char ?? '')) name += this.chars[this.at++];
      const set = posixSet(name);
      if (!set || !this.skip(':]')) throw this.#error(`uses the set [:${name}:], which there is not`);
      return negated ? not(set) : set;
    }
    if (this.skip('[')) return this.#brackets();
    const [set, code] = this.#memberChar();
    if (code === null || this.char !== '-' || [']', undefined].includes(this.chars[this.at + 1])) return set;
    this.at++;
    if (this.skip('[')) throw this.#error('has a range that ends with a set');
    const [, last] = this.#memberChar();
    if (last === null || last < code) throw this.#error('has a range whose end is before its start');
    return between(code, last);
  }

  /** A character of a set and, where it is a single one, its code. */
  #memberChar(): readonly [set: CharSet, code: number | null] {
    const start = this.at;
    if (!this.skip('\\')) {
      const code = this.chars[this.at++].codePointAt(0)!;
      return [single(code), code];
    }
    if (this.skip('b')) return [single(8), 8];
    const set = this.#escape();
    const char = this.chars[start + 1];
    if (Object.hasOwn(CLASSES, char) || char === 'p' || char === 'P') return [set, null];
    if (char === 'x' || char === 'u') {
      const digits = this.chars
        .slice(start + 2, this.at)
        .join('')
        .replace(/[{}]/g, '');
      return [set, Number.parseInt(digits, 16)];
    }
    return [set, Object.hasOwn(ESCAPES, char) ? ESCAPES[char] : char.codePointAt(0)!];
  }
}
