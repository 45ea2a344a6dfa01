/**
 * @file Forms: what a value must be, type by type. A schema is a list of forms, of which a value has at least one. Two
 * forms together are a form again, which is how `allOf` and its kin are compiled.
 */
import type { Bound, NumberRange } from '../terms/numbers.ts';
import type { Term, Terms } from '../terms/terms.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/** A schema that a value must satisfy, or must not. */
export interface Condition {
  readonly schema: JsonObject | boolean;
  readonly negated: boolean;
  /** Where it is, as a JSON pointer. */
  readonly path: string;
}

/** Schemas that a value must satisfy together. */
export type Goal = readonly Condition[];

export const NULL = 1;
export const TRUE = 2;
export const FALSE = 4;
export const NUMBER = 8;
export const STRING = 16;
export const ARRAY = 32;
export const OBJECT = 64;
export const ANY_TYPE = 127;

/** One schema's say on the properties of an object. */
export interface PropertyRules {
  readonly properties: ReadonlyMap<string, Goal>;
  /** Names by their pattern, which is a term of JSON strings. */
  readonly patterns: readonly { readonly names: Term; readonly goal: Goal }[];
  /** Of all other properties. */
  readonly others: Goal;
}

/** One schema's say on the items of an array. */
export interface ItemRules {
  readonly first: readonly Goal[];
  readonly others: Goal;
}

export interface Form {
  /** Bits of the types that it may have. */
  readonly types: number;
  /** A term of JSON strings; null: any. */
  readonly string: Term | null;
  readonly number: NumberRange;
  /** The numbers that are allowed; null: all of the range. */
  readonly numbers: readonly number[] | null;
  readonly objects: readonly PropertyRules[];
  readonly required: ReadonlySet<string>;
  readonly forbidden: ReadonlySet<string>;
  readonly minProperties: number;
  readonly maxProperties: number;
  readonly arrays: readonly ItemRules[];
  readonly minItems: number;
  readonly maxItems: number;
  /** Some item must satisfy this. */
  readonly contains: readonly Goal[];
  /** Arrays and objects that are listed; null: all. */
  readonly literals: readonly Json[] | null;
}

export const ANY_FORM: Form = {
  types: ANY_TYPE,
  string: null,
  number: { integer: false, min: null, max: null, multiples: [] },
  numbers: null,
  objects: [],
  required: new Set(),
  forbidden: new Set(),
  minProperties: 0,
  maxProperties: Number.POSITIVE_INFINITY,
  arrays: [],
  minItems: 0,
  maxItems: Number.POSITIVE_INFINITY,
  contains: [],
  literals: null,
};

/** What has both forms. */
export function meet(terms: Terms, a: Form, b: Form): Form {
  if (a === ANY_FORM) return b;
  if (b === ANY_FORM) return a;
  const number: NumberRange = {
    integer: a.number.integer || b.number.integer,
    min: tighter(a.number.min, b.number.min, 1),
    max: tighter(a.number.max, b.number.max, -1),
    multiples: [...new Set([...a.number.multiples, ...b.number.multiples])],
  };
  return {
    types: a.types & b.types,
    string: a.string && b.string ? terms.and(a.string, b.string) : (a.string ?? b.string),
    number,
    numbers: common(a.numbers, b.numbers, Object.is),
    objects: [...a.objects, ...b.objects],
    required: union(a.required, b.required),
    forbidden: union(a.forbidden, b.forbidden),
    minProperties: Math.max(a.minProperties, b.minProperties),
    maxProperties: Math.min(a.maxProperties, b.maxProperties),
    arrays: [...a.arrays, ...b.arrays],
    minItems: Math.max(a.minItems, b.minItems),
    maxItems: Math.min(a.maxItems, b.maxItems),
    contains: [...a.contains, ...b.contains],
    literals: common(a.literals, b.literals, (x, y) => JSON.stringify(x) === JSON.stringify(y)),
  };
}

/** The numbers that are listed and in the range. */
export function numbersOf({ numbers, number: { integer, min, max, multiples } }: Form): readonly number[] {
  return (numbers ?? []).filter(
    (value) =>
      (!integer || Number.isInteger(value)) &&
      (!min || (min.exclusive ? value > min.value : value >= min.value)) &&
      (!max || (max.exclusive ? value < max.value : value <= max.value)) &&
      multiples.every((divisor) => value % divisor === 0),
  );
}

function union(a: ReadonlySet<string>, b: ReadonlySet<string>): ReadonlySet<string> {
  return a.size === 0 ? b : b.size === 0 ? a : new Set([...a, ...b]);
}

function common<T>(a: readonly T[] | null, b: readonly T[] | null, same: (x: T, y: T) => boolean) {
  return a && b ? a.filter((x) => b.some((y) => same(x, y))) : (a ?? b);
}

/** @param sign 1 for lower bounds, -1 for upper ones. */
function tighter(a: Bound | null, b: Bound | null, sign: number): Bound | null {
  if (!a || !b) return a ?? b;
  if (a.value === b.value) return a.exclusive ? a : b;
  return (a.value - b.value) * sign > 0 ? a : b;
}
