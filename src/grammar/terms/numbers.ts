/**
 * @file Numbers of JSON as terms.
 *
 * Readers make float64 of them: 1e999 is Infinity, 0.99999999999999999999 is 1. So digits are limited, such that what
 * is written is on the same side of each bound as what is read.
 */
import type { Term, Terms } from './terms.ts';

/** What a number must be. */
export interface NumberRange {
  readonly integer: boolean;
  /** null: none. */
  readonly min: Bound | null;
  readonly max: Bound | null;
  /** Divisors, all whole. */
  readonly multiples: readonly number[];
}

export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

/** Digits before and behind the point where nothing else limits them. */
const MAX_DIGITS = 32;
/** Digits that float64 holds, so that numbers with as many are in the order of their digits. */
const EXACT_DIGITS = 15;

/** Non-negative whole numbers from one to another, in decimal digits. */
type Digits = string;

export class Numbers {
  readonly #terms: Terms;
  readonly #digit: Term;
  readonly #positive: Term;
  readonly #minus: Term;
  readonly #point: Term;

  constructor(terms: Terms) {
    this.#terms = terms;
    this.#digit = terms.bytes(48, 57);
    this.#positive = terms.bytes(49, 57);
    this.#minus = terms.text('-');
    this.#point = terms.text('.');
  }

  /** The numbers of a range. `none` where there are none. */
  term({ integer, min, max, multiples }: NumberRange): Term {
    const { and, concat, optional, multiple } = bound(this.#terms);
    if (!integer) return min || max ? this.#decimals(min, max) : this.#any();
    // Larger numbers are rounded when they are read, and are multiples of something else then.
    const limit = multiples.length > 0 ? 10n ** BigInt(EXACT_DIGITS) : null;
    const least = min ? wholeAbove(min) : limit && -limit;
    const most = max ? wholeBelow(max) : limit;
    const range = this.#integers(least, most);
    return and(range, ...multiples.map((divisor) => concat(optional(this.#minus), multiple(divisor))));
  }

  /** Any number that a reader holds. */
  #any(): Term {
    const terms = this.#terms;
    const digits = (most: number) => terms.repeat(this.#digit, 1, most);
    const whole = terms.or(terms.text('0'), terms.concat(this.#positive, terms.repeat(this.#digit, 0, MAX_DIGITS - 1)));
    const fraction = terms.optional(terms.concat(this.#point, digits(MAX_DIGITS)));
    const exponent = terms.concat(
      terms.set(terms.sets.union(terms.bytes(69, 69).set!, terms.bytes(101, 101).set!)),
      terms.optional(terms.or(terms.text('+'), this.#minus)),
      // At most 307.
      terms.or(
        terms.repeat(this.#digit, 1, 2),
        terms.concat(terms.bytes(49, 50), this.#digit, this.#digit),
        terms.concat(terms.text('30'), terms.bytes(48, 55)),
      ),
    );
    return terms.concat(
      terms.optional(this.#minus),
      terms.or(terms.concat(whole, fraction), terms.concat(this.#digit, fraction, exponent)),
    );
  }

  #integers(least: bigint | null, most: bigint | null): Term {
    const terms = this.#terms;
    if (least !== null && most !== null && least > most) return terms.none;
    const parts: Term[] = [];
    if (most === null || most >= 0n) {
      const from = least === null || least < 0n ? 0n : least;
      parts.push(this.#between(from.toString(), most === null ? null : most.toString()));
    }
    if (least === null || least < 0n) {
      const from = most === null || most > -1n ? 1n : -most;
      parts.push(
        terms.concat(this.#minus, this.#between(from.toString(), least === null ? null : (-least).toString())),
      );
    }
    return terms.or(...parts);
  }

  /** Whole numbers without sign and without leading zeros. @param to null: no limit but that of digits. */
  #between(from: Digits, to: Digits | null): Term {
    const terms = this.#terms;
    const parts: Term[] = [];
    const longest = to === null ? Math.max(MAX_DIGITS, from.length + 1) : to.length;
    for (let length = from.length; length <= longest; length++) {
      const low = length === from.length ? from : `1${'0'.repeat(length - 1)}`;
      const high = to !== null && length === to.length ? to : '9'.repeat(length);
      if (length > from.length && (to === null || length < to.length)) {
        // All numbers of these lengths.
        const last = to === null ? longest : to.length - 1;
        parts.push(terms.concat(this.#positive, terms.repeat(this.#digit, length - 1, last - 1)));
        length = last;
        continue;
      }
      parts.push(this.#sameLength(low, high));
    }
    return terms.or(...parts);
  }

  /** Digit texts of one length, from one to another. */
  #sameLength(low: Digits, high: Digits): Term {
    const terms = this.#terms;
    if (low === '') return terms.empty;
    const [a, b] = [low.charCodeAt(0), high.charCodeAt(0)];
    const [restLow, restHigh] = [low.slice(1), high.slice(1)];
    const zeros = '0'.repeat(restLow.length);
    const nines = '9'.repeat(restLow.length);
    const digit = (byte: number) => terms.bytes(byte, byte);
    if (a === b) return terms.concat(digit(a), this.#sameLength(restLow, restHigh));
    const [begin, end] = [restLow === zeros ? a : a + 1, restHigh === nines ? b : b - 1];
    return terms.or(
      begin === a ? terms.none : terms.concat(digit(a), this.#sameLength(restLow, nines)),
      begin <= end
        ? terms.concat(terms.bytes(begin, end), terms.repeat(this.#digit, restLow.length, restLow.length))
        : terms.none,
      end === b ? terms.none : terms.concat(digit(b), this.#sameLength(zeros, restHigh)),
    );
  }

  #decimals(min: Bound | null, max: Bound | null): Term {
    const terms = this.#terms;
    const parts: Term[] = [];
    if (!max || max.value >= 0) {
      const from = min && min.value >= 0 ? min : null;
      parts.push(this.#magnitudes(from, max));
    }
    if (!min || min.value < 0) {
      const from = max && max.value < 0 ? negated(max) : { value: 0, exclusive: true };
      parts.push(terms.concat(this.#minus, this.#magnitudes(from, min ? negated(min) : null)));
    }
    return terms.or(...parts);
  }

  /** Decimal numbers without sign, from one bound to another, both at least 0. */
  #magnitudes(min: Bound | null, max: Bound | null): Term {
    const terms = this.#terms;
    if (max && (max.value < 0 || (max.value === 0 && max.exclusive))) return terms.none;
    const low = decimalOf(min?.value ?? 0);
    const high = max ? decimalOf(max.value) : null;
    const decimals = Math.max(low.fraction.length, high?.fraction.length ?? 0);
    const wholeDigits = high ? high.whole.length : low.whole.length;
    const precision = Math.max(decimals, EXACT_DIGITS - wholeDigits, 0);
    const any = terms.optional(terms.concat(this.#point, terms.repeat(this.#digit, 1, Math.max(1, precision))));
    if (low.whole === high?.whole)
      return terms.concat(
        terms.text(low.whole),
        this.#fractions(low.fraction, min?.exclusive ?? false, high.fraction, max!.exclusive, precision),
      );
    const [lowWhole, highWhole] = [BigInt(low.whole), high ? BigInt(high.whole) : null];
    if (highWhole !== null && highWhole < lowWhole) return terms.none;
    const between = this.#integers(lowWhole + 1n, highWhole === null ? null : highWhole - 1n);
    return terms.or(
      terms.concat(
        terms.text(low.whole),
        this.#fractions(low.fraction, min?.exclusive ?? false, null, false, precision),
      ),
      terms.concat(between, any),
      high
        ? terms.concat(terms.text(high.whole), this.#fractions('', false, high.fraction, max!.exclusive, precision))
        : terms.none,
    );
  }

  /** What may follow the whole part: from one fraction to another (null: no limit), of at most some digits. */
  #fractions(low: string, lowOpen: boolean, high: string | null, highOpen: boolean, precision: number): Term {
    const terms = this.#terms;
    const decimals = Math.max(1, precision);
    const { not, and } = bound(terms);
    const zeros = terms.repeat(terms.text('0'));
    const exactly = (fraction: string) =>
      fraction === ''
        ? terms.optional(terms.concat(this.#point, terms.text('0'), zeros))
        : terms.concat(this.#point, terms.text(fraction), zeros);
    const shape = terms.optional(terms.concat(this.#point, terms.repeat(this.#digit, 1, decimals)));
    const atLeast = this.#fractionAbove(low);
    const limits: Term[] = [shape, atLeast];
    if (lowOpen) limits.push(not(exactly(low)));
    if (high !== null) {
      // Not above: not at least, or the same.
      limits.push(terms.or(not(this.#fractionAbove(high)), highOpen ? terms.none : exactly(high)));
    }
    return terms.prune(and(...limits));
  }

  /** `.` and digits that come to at least a fraction; more digits may follow. */
  #fractionAbove(fraction: string): Term {
    const terms = this.#terms;
    const more = terms.repeat(this.#digit);
    if (fraction === '') return terms.optional(terms.concat(this.#point, more));
    const parts: Term[] = [];
    for (let i = 0; i < fraction.length; i++) {
      const byte = fraction.charCodeAt(i);
      if (byte < 57) parts.push(terms.concat(terms.text(`.${fraction.slice(0, i)}`), terms.bytes(byte + 1, 57), more));
    }
    parts.push(terms.concat(terms.text(`.${fraction}`), more));
    return terms.or(...parts);
  }
}

/** Methods that can be called by their names. */
function bound(terms: Terms) {
  return {
    and: terms.and.bind(terms),
    concat: terms.concat.bind(terms),
    multiple: terms.multiple.bind(terms),
    not: terms.not.bind(terms),
    optional: terms.optional.bind(terms),
  };
}

const negated = ({ value, exclusive }: Bound): Bound => ({ value: -value, exclusive });

/** The least whole number that is allowed. */
function wholeAbove({ value, exclusive }: Bound): bigint {
  // Between these, float64 has no whole numbers that are one apart.
  if (exclusive && Math.abs(value) >= 2 ** 53) return BigInt(value + Math.abs(value) * Number.EPSILON);
  const up = Math.ceil(value);
  return exclusive && up === value ? BigInt(up) + 1n : BigInt(up);
}

function wholeBelow({ value, exclusive }: Bound): bigint {
  if (exclusive && Math.abs(value) >= 2 ** 53) return BigInt(value - Math.abs(value) * Number.EPSILON);
  const down = Math.floor(value);
  return exclusive && down === value ? BigInt(down) - 1n : BigInt(down);
}

/** A number of at least 0 without exponent. */
function decimalOf(value: number): { readonly whole: string; readonly fraction: string } {
  const [, digits, fraction = '', exponent = '0'] = /^(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value))!;
  const shift = Number(exponent);
  const all = digits + fraction;
  const at = digits.length + shift;
  const whole = at <= 0 ? '0' : all.slice(0, at).padEnd(at, '0');
  const rest = at <= 0 ? '0'.repeat(-at) + all : all.slice(at);
  return { whole: whole.replace(/^0+(?=\d)/, ''), fraction: rest.replace(/0+$/, '') };
}
