/**
 * @file Regular expressions as adapters name modules with, in Python's notation.
 *
 * Adapters come from strangers, and a backtracking matcher can be made to run for ever. This one keeps the set of all positions that
 * a part of the pattern can end at, so its work is bounded by the lengths of pattern and text.
 */
import { AdapterError } from '../util/errors.ts';

/** From where the node may begin to where it may end. */
type Matcher = (from: ReadonlySet<number>, text: string, budget: Budget) => Set<number>;

/** Steps that are left. */
interface Budget {
  left: number;
}

const MAX_LENGTH = 2000;
const MAX_REPEATS = 1000;
const MAX_STEPS = 2_000_000;

/** A pattern that was read. */
export class Pattern {
  readonly source: string;
  readonly #match: Matcher;

  /** @throws AdapterError for what is no pattern, or uses a construct that is not supported (backreferences, flags). */
  constructor(source: string) {
    this.source = source;
    if (source.length > MAX_LENGTH) throw new AdapterError(`a pattern of ${source.length} characters is too long`);
    this.#match = new Reader(source).whole();
  }

  /** Whether the whole text matches (Python's `re.fullmatch`). */
  matchesAll(text: string): boolean {
    return this.#ends(text).has(text.length);
  }

  /** Whether a beginning of the text matches (Python's `re.match`). */
  matchesStart(text: string): boolean {
    return this.#ends(text).size > 0;
  }

  #ends(text: string): Set<number> {
    const budget = { left: MAX_STEPS };
    const ends = this.#match(new Set([0]), text, budget);
    if (budget.left < 0) throw new AdapterError(`the pattern ${JSON.stringify(this.source)} takes too long to match`);
    return ends;
  }
}

/** A plain text as a pattern for itself. */
export function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
}

/** Reads a pattern from left to right. */
class Reader {
  readonly #source: string;
  #at = 0;

  constructor(source: string) {
    this.#source = source;
  }

  whole(): Matcher {
    const matcher = this.#alternatives();
    if (this.#at < this.#source.length) throw this.#fail(`unexpected ${this.#source[this.#at]}`);
    return matcher;
  }

  #alternatives(): Matcher {
    const choices = [this.#sequence()];
    while (this.#take('|')) choices.push(this.#sequence());
    if (choices.length === 1) return choices[0];
    return (from, text, budget) => new Set(choices.flatMap((choice) => [...choice(from, text, budget)]));
  }

  #sequence(): Matcher {
    const items: Matcher[] = [];
    while (this.#at < this.#source.length && this.#peek() !== '|' && this.#peek() !== ')')
      items.push(this.#repeated(this.#item()));
    return (from, text, budget) => {
      let positions = new Set(from);
      for (const item of items) {
        if (positions.size === 0) break;
        positions = item(positions, text, budget);
      }
      return positions;
    };
  }

  #repeated(item: Matcher): Matcher {
    let matcher = item;
    for (;;) {
      const bounds = this.#quantifier();
      if (!bounds) return matcher;
      this.#take('?'); // as few as possible: the same positions
      if (this.#peek() === '+') throw this.#fail('possessive quantifiers are not supported');
      matcher = repeat(matcher, bounds[0], bounds[1]);
    }
  }

  #quantifier(): [number, number] | null {
    if (this.#take('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.#take('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.#take('?')) return [0, 1];
    const counted = /^\{(\d*)(,?)(\d*)\}/.exec(this.#source.slice(this.#at));
    if (!counted || (counted[1] === '' && counted[3] === '')) return null;
    this.#at += counted[0].length;
    const low = Number(counted[1] || 0);
    const high = counted[2] === '' ? low : counted[3] === '' ? Number.POSITIVE_INFINITY : Number(counted[3]);
    if (low > high || low > MAX_REPEATS) throw this.#fail(`${counted[0]} is out of bounds`);
    return [low, high];
  }

  #item(): Matcher {
    const c = this.#next();
    if (c === '(') return this.#group();
    if (c === '[') return this.#class();
    if (c === '.') return one((x) => x !== '\n');
    if (c === '^') return when((at) => at === 0);
    if (c === '$') return when((at, text) => at === text.length);
    if (c === '\\') return this.#escape();
    if (c === '*' || c === '+' || c === '?') throw this.#fail(`nothing to repeat before ${c}`);
    return one((x) => x === c);
  }

  #group(): Matcher {
    const kind = /^\?(:|=|!|P<\w+>|<\w+>)/.exec(this.#source.slice(this.#at));
    if (this.#peek() === '?' && !kind) throw this.#fail('this kind of group is not supported');
    this.#at += kind?.[0].length ?? 0;
    const inner = this.#alternatives();
    if (!this.#take(')')) throw this.#fail('a group is not closed');
    if (kind?.[1] !== '=' && kind?.[1] !== '!') return inner;
    const wanted = kind[1] === '=';
    return (from, text, budget) =>
      new Set([...from].filter((at) => inner(new Set([at]), text, budget).size > 0 === wanted));
  }

  #class(): Matcher {
    const negated = this.#take('^');
    const tests: ((x: string) => boolean)[] = [];
    for (let first = true; first || this.#peek() !== ']'; first = false) {
      const low = this.#next();
      const known = low === '\\' ? this.#classEscape() : low;
      if (typeof known !== 'string') tests.push(known);
      else if (this.#peek() === '-' && this.#source[this.#at + 1] !== ']') {
        this.#at++;
        const end = this.#next();
        const high = end === '\\' ? this.#classEscape() : end;
        if (typeof high !== 'string' || high < known) throw this.#fail('a range is out of order');
        tests.push((x) => x >= known && x <= high);
      } else tests.push((x) => x === known);
    }
    this.#at++;
    return one((x) => tests.some((test) => test(x)) !== negated);
  }

  #classEscape(): string | ((x: string) => boolean) {
    const c = this.#next();
    const set = SETS[c.toLowerCase()];
    if (set) return c === c.toLowerCase() ? set : (x) => !set(x);
    if (/[a-z0-9]/i.test(c)) throw this.#fail(`\\${c} is not supported`);
    return c;
  }

  #escape(): Matcher {
    const c = this.#peek();
    if (c === 'Z' || c === 'A') {
      this.#at++;
      return when((at, text) => at === (c === 'A' ? 0 : text.length));
    }
    if (c === 'b') {
      this.#at++;
      return when((at, text) => SETS.w(text[at - 1] ?? ' ') !== SETS.w(text[at] ?? ' '));
    }
    const known = this.#classEscape();
    return one(typeof known === 'string' ? (x) => x === known : known);
  }

  #peek(): string {
    return this.#source[this.#at] ?? '';
  }

  #next(): string {
    if (this.#at >= this.#source.length) throw this.#fail('it ends too early');
    return this.#source[this.#at++];
  }

  #take(c: string): boolean {
    if (this.#peek() !== c) return false;
    this.#at++;
    return true;
  }

  #fail(why: string): AdapterError {
    return new AdapterError(`the pattern ${JSON.stringify(this.#source.slice(0, 200))} can't be used: ${why}`);
  }
}

const SETS: Readonly<Record<string, (x: string) => boolean>> = {
  d: (x) => x >= '0' && x <= '9',
  w: (x) => /\w/.test(x),
  s: (x) => /\s/.test(x),
};

function one(test: (x: string) => boolean): Matcher {
  return (from, text, budget) => {
    budget.left -= from.size;
    const ends = new Set<number>();
    if (budget.left >= 0) for (const at of from) if (at < text.length && test(text[at])) ends.add(at + 1);
    return ends;
  };
}

function when(test: (at: number, text: string) => boolean): Matcher {
  return (from, text, budget) => {
    budget.left -= from.size;
    return new Set([...from].filter((at) => test(at, text)));
  };
}

function repeat(item: Matcher, low: number, high: number): Matcher {
  return (from, text, budget) => {
    let frontier = new Set(from);
    for (let i = 0; i < low && frontier.size > 0 && budget.left >= 0; i++, budget.left--)
      frontier = item(frontier, text, budget);
    const ends = new Set(frontier);
    for (let i = low; i < high && frontier.size > 0 && budget.left >= 0; i++, budget.left--) {
      frontier = new Set([...item(frontier, text, budget)].filter((at) => !ends.has(at)));
      for (const at of frontier) ends.add(at);
    }
    return ends;
  };
}
