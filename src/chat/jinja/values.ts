/**
 * @file The values of templates: Python's, in JavaScript.
 *
 * None is `null`, strings, booleans and numbers are themselves, a list is an array, a dict is a `Map`. A number that is
 * whole counts as an int; {@link Float} is a float that happens to be whole.
 */
import { JinjaError } from './errors.ts';

export type Value =
  | null
  | boolean
  | number
  | string
  | Float
  | Undefined
  | Value[]
  | Dict
  | Lazy
  | Callable
  | TemplateObject;
export type Dict = Map<Value, Value>;

/** A float without a fraction, such as 1.0. */
export class Float {
  readonly value: number;
  constructor(value: number) {
    this.value = value;
  }
}

/** A tuple: a list that is written in parentheses. */
export class Tuple extends Array<Value> {}

export function tupleOf(...items: Value[]): Tuple {
  const tuple = new Tuple();
  for (const item of items) tuple.push(item);
  return tuple;
}

/** What is not there; using it as more than an empty text is an error. */
export class Undefined {
  readonly why: string;
  constructor(why: string) {
    this.why = why;
  }

  fail(): never {
    throw new JinjaError(this.why);
  }
}

/** A value, or what stands for one that is not there. */
export const orUndefined = (value: Value | undefined, why: string): Value =>
  value === undefined ? new Undefined(`UndefinedError: ${why}`) : value;

/** What a filter such as `map` gives: it can be gone through once, and counts as true even where it is empty. */
export class Lazy {
  #items: Value[];
  constructor(items: Value[]) {
    this.#items = items;
  }

  take(): Value[] {
    const items = this.#items;
    this.#items = [];
    return items;
  }

  /** The first item, which is then taken. */
  next(): Value | undefined {
    return this.#items.shift();
  }
}

export type Kwargs = ReadonlyMap<string, Value>;

/** A function, a method or a macro. */
export class Callable {
  readonly name: string;
  readonly call: (args: readonly Value[], kwargs: Kwargs) => Value;
  constructor(name: string, call: (args: readonly Value[], kwargs: Kwargs) => Value) {
    this.name = name;
    this.call = call;
  }
}

/** An object with attributes: `loop`, a namespace, a cycler. */
export class TemplateObject {
  readonly type: string;
  readonly attributes: Map<string, Value>;
  constructor(type: string, attributes: Iterable<[string, Value]> = []) {
    this.type = type;
    this.attributes = new Map(attributes);
  }
}

/** Values of JavaScript as values of templates. Keys without a value are left out. */
export function toValue(value: unknown): Value {
  if (value === null || typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string')
    return value;
  if (typeof value === 'bigint') return Number(value);
  if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : toValue(item)));
  if (typeof value === 'function')
    return new Callable(value.name, (args) => toValue((value as (...args: unknown[]) => unknown)(...args)));
  if (value instanceof Callable) return value;
  if (typeof value === 'object') {
    const dict: Dict = new Map();
    for (const [key, item] of Object.entries(value)) if (item !== undefined) dict.set(key, toValue(item));
    return dict;
  }
  return new Undefined(`a ${typeof value} has no meaning in a template`);
}

export const isNumeric = (value: Value): value is number | boolean | Float =>
  typeof value === 'number' || typeof value === 'boolean' || value instanceof Float;
export const isFloat = (value: Value): boolean =>
  value instanceof Float || (typeof value === 'number' && !Number.isInteger(value));
export const isInteger = (value: Value): value is number => typeof value === 'number' && Number.isInteger(value);

/** @throws JinjaError for what is no number. */
export function numberOf(value: Value, what = 'a number'): number {
  if (value instanceof Undefined) value.fail();
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (value instanceof Float) return value.value;
  throw new JinjaError(`TypeError: ${what} is expected, but ${typeName(value)} is given`);
}

/** A float as a value. */
export const floatValue = (value: number): Value => (Number.isInteger(value) ? new Float(value) : value);

export function typeName(value: Value): string {
  if (value === null) return 'None';
  if (value instanceof Undefined) return 'Undefined';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'string') return 'str';
  if (isNumeric(value)) return isFloat(value) ? 'float' : 'int';
  if (value instanceof Tuple) return 'tuple';
  if (Array.isArray(value)) return 'list';
  if (value instanceof Map) return 'dict';
  if (value instanceof Lazy) return 'generator';
  return value instanceof Callable ? 'function' : value.type;
}

export function isTrue(value: Value): boolean {
  if (value === null || value instanceof Undefined) return false;
  if (typeof value === 'boolean') return value;
  if (isNumeric(value)) return numberOf(value) !== 0;
  if (typeof value === 'string' || Array.isArray(value)) return value.length > 0;
  return value instanceof Map ? value.size > 0 : true;
}

export function equals(a: Value, b: Value): boolean {
  if (a === b) return true;
  if (isNumeric(a) && isNumeric(b)) return numberOf(a) === numberOf(b);
  if (a instanceof Undefined) return b instanceof Undefined;
  if (Array.isArray(a))
    return (
      Array.isArray(b) &&
      a instanceof Tuple === b instanceof Tuple &&
      a.length === b.length &&
      a.every((item, i) => equals(item, b[i]))
    );
  if (!(a instanceof Map && b instanceof Map) || a.size !== b.size) return false;
  for (const [key, value] of a) if (!b.has(key) || !equals(value, b.get(key)!)) return false;
  return true;
}

/** Negative, zero or positive. @throws JinjaError for values that have no order. */
export function compare(a: Value, b: Value): number {
  if (a instanceof Undefined) a.fail();
  if (b instanceof Undefined) b.fail();
  if (isNumeric(a) && isNumeric(b)) return numberOf(a) - numberOf(b);
  if (typeof a === 'string' && typeof b === 'string') return compareText(a, b);
  if (Array.isArray(a) && Array.isArray(b)) {
    for (let i = 0; i < Math.min(a.length, b.length); i++) if (!equals(a[i], b[i])) return compare(a[i], b[i]);
    return a.length - b.length;
  }
  throw new JinjaError(`TypeError: ${typeName(a)} and ${typeName(b)} have no order`);
}

/** By code points, as Python: by code units, U+FFFF would follow U+10000. */
function compareText(a: string, b: string): number {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const [x, y] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (x === y) continue;
    const [xHalf, yHalf] = [x >= 0xd800 && x < 0xe000, y >= 0xd800 && y < 0xe000];
    return xHalf === yHalf ? x - y : xHalf ? 1 : -1;
  }
  return a.length - b.length;
}

/** Whether `container` has `item`. @throws JinjaError for what can't have any. */
export function contains(container: Value, item: Value): boolean {
  if (container instanceof Undefined) return false;
  if (typeof container === 'string') {
    if (item instanceof Undefined) item.fail();
    if (typeof item !== 'string')
      throw new JinjaError(`TypeError: 'in <string>' requires string, not ${typeName(item)}`);
    return container.includes(item);
  }
  if (container instanceof Map) return container.has(keyOf(item));
  return iterate(container).some((other) => equals(other, item));
}

/** A value as a key of a dict. */
export function keyOf(value: Value): Value {
  if (value instanceof Float) return value.value;
  if (typeof value === 'boolean') return value;
  if ((Array.isArray(value) && !(value instanceof Tuple)) || value instanceof Map)
    throw new JinjaError(`TypeError: unhashable type: '${typeName(value)}'`);
  return value;
}

/** The items of what can be gone through. @throws JinjaError */
export function iterate(value: Value): Value[] {
  if (Array.isArray(value)) return value;
  if (value instanceof Undefined) return [];
  if (typeof value === 'string') return Array.from(value);
  if (value instanceof Map) return [...value.keys()];
  if (value instanceof Lazy) return value.take();
  throw new JinjaError(`TypeError: '${typeName(value)}' object is not iterable`);
}

/** @throws JinjaError for what has no length. */
export function lengthOf(value: Value): number {
  if (value instanceof Undefined) return 0;
  if (typeof value === 'string') return hasPairs(value) ? Array.from(value).length : value.length;
  if (Array.isArray(value)) return value.length;
  if (value instanceof Map) return value.size;
  throw new JinjaError(`TypeError: object of type '${typeName(value)}' has no len()`);
}

/** Whether a text has characters beyond the BMP, which count as one in Python and as two here. */
export const hasPairs = (text: string): boolean => /[\ud800-\udfff]/.test(text);
