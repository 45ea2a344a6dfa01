/**
 * @file Reads values out of a config.json with checks, and remembers which keys were asked for.
 */
import { ConfigError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { show } from '../util/json/show.ts';

type Keys = string | readonly string[];

/** No count in a config may exceed this: memory is allocated by counts, and a damaged file may state any. */
const MAX_COUNT = 2 ** 26;

/** The largest float32. A larger number is infinite where the model computes with it. */
const MAX_FLOAT = (2 - 2 ** -23) * 2 ** 127;

/** A view of one JSON object. Keys may be given with aliases: the first that is there counts; null counts as absent. */
export class ConfigReader {
  readonly #json: Record<string, unknown>;
  readonly #where: string;
  readonly #used = new Set<string>();
  readonly #children = new Map<unknown, ConfigReader>();

  /** @param where the file (and the path within), for messages. */
  constructor(json: Record<string, unknown>, where: string) {
    this.#json = json;
    this.#where = where;
  }

  /**
   * The keys that hold something and were never asked for, with their values; those of nested objects as `outer.inner`.
   */
  unused(): [key: string, value: unknown][] {
    const own = Object.entries(this.#json).filter(([key]) => !this.#used.has(key));
    for (const [key, value] of Object.entries(this.#json))
      for (const [inner, nested] of this.#children.get(value)?.unused() ?? []) own.push([`${key}.${inner}`, nested]);
    return own;
  }

  has(keys: Keys): boolean {
    return this.#find(keys) !== undefined;
  }

  /** Whether the key is there and says null. */
  isNull(key: string): boolean {
    return this.#json[key] === null;
  }

  isString(key: string): boolean {
    return typeof this.#json[key] === 'string';
  }

  /** A whole number of at least `min`. Without `fallback` the key must be there. */
  int(keys: Keys, fallback?: number, min = 1, max = MAX_COUNT): number {
    const value = this.#need(keys, fallback);
    if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max)
      this.fail(keys, `must be a whole number from ${min} to ${max}, but is ${show(value)}`);
    return value as number;
  }

  /** A whole number for each of `length` layers: one for all of them, or a list. */
  ints(key: string, length: number, fallback?: number, min = 1, max = MAX_COUNT): number[] {
    if (!Array.isArray(this.#json[key])) return new Array<number>(length).fill(this.int(key, fallback, min, max));
    const list = this.numbers(key, length);
    const wrong = list.find((value) => !Number.isSafeInteger(value) || value < min || value > max);
    if (wrong !== undefined) this.fail(key, `must hold whole numbers from ${min} to ${max}, but has ${wrong}`);
    return list;
  }

  /** As {@link int}, but null where the key is absent or null. */
  intOrNull(keys: Keys, min = 1): number | null {
    return this.has(keys) ? this.int(keys, undefined, min) : null;
  }

  /** A number that a float32 can hold. */
  float(keys: Keys, fallback?: number, min = Number.NEGATIVE_INFINITY): number {
    const value = this.#need(keys, fallback);
    if (!isFloat(value) || value < min) {
      const bound =
        min > Number.NEGATIVE_INFINITY
          ? ` of at least ${min}`
          : Number.isFinite(value)
            ? ' that a float32 can hold'
            : '';
      this.fail(keys, `must be a number${bound}, but is ${show(value)}`);
    }
    return value;
  }

  /** A number above 0. */
  positive(keys: Keys, fallback?: number): number {
    const value = this.float(keys, fallback);
    if (!(value > 0)) this.fail(keys, `must be above 0, but is ${value}`);
    return value;
  }

  /** What is added to a variance: above 0, and no larger than the variance that a norm gives. */
  epsilon(keys: Keys, fallback?: number): number {
    const value = this.positive(keys, fallback);
    if (value > 1) this.fail(keys, `must be 1 at most, but is ${value}`);
    return value;
  }

  positiveOrNull(keys: Keys): number | null {
    return this.has(keys) ? this.positive(keys) : null;
  }

  bool(keys: Keys, fallback?: boolean): boolean {
    const value = this.#need(keys, fallback);
    if (typeof value !== 'boolean') this.fail(keys, `must be true or false, but is ${show(value)}`);
    return value;
  }

  /** As {@link bool}; a number is true unless it is 0. */
  flag(key: string, fallback: boolean): boolean {
    return typeof this.#json[key] === 'number' ? this.float(key) !== 0 : this.bool(key, fallback);
  }

  string(keys: Keys, fallback?: string): string {
    const value = this.#need(keys, fallback);
    if (typeof value !== 'string') this.fail(keys, `must be a string, but is ${show(value)}`);
    return value;
  }

  /** One of `choices`. */
  choice<T extends string>(keys: Keys, choices: Readonly<Record<string, T>>, fallback?: string): T {
    const value = this.string(keys, fallback);
    if (!Object.hasOwn(choices, value))
      this.fail(keys, `is ${show(value)}, which is not known; known are ${Object.keys(choices).join(', ')}`);
    return choices[value];
  }

  /** A list of numbers that a float32 can hold, of `length` entries where given. */
  numbers(keys: Keys, length?: number): number[] {
    const value = this.#list(keys, length);
    if (!value.every(isFloat)) this.fail(keys, `must be a list of numbers, but is ${show(value)}`);
    return value as number[];
  }

  /** A list of anything, which the caller checks. */
  list(keys: Keys): readonly unknown[] {
    return this.#list(keys, undefined);
  }

  /** A list of strings, or undefined where the key is absent. */
  strings(keys: Keys, length?: number): string[] | undefined {
    if (!this.has(keys)) return undefined;
    const value = this.#list(keys, length);
    if (!value.every((x) => typeof x === 'string')) this.fail(keys, `must be a list of strings, but is ${show(value)}`);
    return value as string[];
  }

  /** A token id, a list of them, or nothing. */
  tokenIds(key: string): number[] {
    const value = this.#find(key);
    if (value === undefined) return [];
    const list = Array.isArray(value) ? value : [value];
    // Some checkpoints state -1 for "none".
    if (!list.every((x) => Number.isSafeInteger(x) && x >= -1))
      this.fail(key, `must be a token id or a list of them, but is ${show(value)}`);
    return (list as number[]).filter((x) => x >= 0);
  }

  /** A nested object, or undefined where the key is absent. */
  object(keys: Keys): ConfigReader | undefined {
    const value = this.#find(keys);
    if (value === undefined) return undefined;
    if (!isObject(value)) this.fail(keys, `must be an object, but is ${show(value)}`);
    const known = this.#children.get(value);
    if (known) return known;
    const child = new ConfigReader(value, `${this.#where}: ${this.#name(keys)}`);
    this.#children.set(value, child);
    return child;
  }

  /** An object of token ids by name; empty where the key is absent. */
  record(key: string): Record<string, number> {
    const value = this.#find(key) ?? {};
    if (typeof value !== 'object' || !Object.values(value).every((x) => Number.isSafeInteger(x) && x >= 0))
      this.fail(key, `must be an object of token ids, but is ${show(value)}`);
    return value as Record<string, number>;
  }

  /** Says that keys are known and do not concern what is computed here. */
  skip(...keys: string[]): void {
    for (const key of keys) this.#used.add(key);
  }

  /** Says that all other keys are known and do not concern what is computed here. */
  skipRest(): void {
    this.skip(...Object.keys(this.#json));
  }

  /** Says that a key's value is understood and not supported, unless it is absent or one of `fine`. */
  refuse(key: string, why: string, fine: readonly unknown[] = [false, 0]): void {
    const value = this.#find(key);
    if (value !== undefined && !fine.includes(value)) this.fail(key, `is ${show(value)}: ${why}`);
  }

  fail(keys: Keys, what: string): never {
    throw new ConfigError(`${this.#where}: ${this.#name(keys)} ${what}`);
  }

  #list(keys: Keys, length?: number): unknown[] {
    const value = this.#need(keys, undefined);
    if (!Array.isArray(value)) this.fail(keys, `must be a list, but is ${show(value)}`);
    if (length !== undefined && value.length !== length)
      this.fail(keys, `must have ${length} entries, but has ${value.length}`);
    return value;
  }

  #need(keys: Keys, fallback: unknown): unknown {
    const value = this.#find(keys) ?? fallback;
    if (value === undefined) this.fail(keys, 'is missing; take the file that belongs to the weights');
    return value;
  }

  #find(keys: Keys): unknown {
    const list = typeof keys === 'string' ? [keys] : keys;
    let found: unknown;
    for (const key of list) {
      this.#used.add(key);
      if (found === undefined && Object.hasOwn(this.#json, key)) found = this.#json[key] ?? undefined;
    }
    return found;
  }

  #name(keys: Keys): string {
    return typeof keys === 'string'
      ? keys
      : (keys.find((key) => Object.hasOwn(this.#json, key)) ?? keys[0] ?? 'a value');
  }
}

function isFloat(value: unknown): value is number {
  return typeof value === 'number' && Math.abs(value) <= MAX_FLOAT;
}

/** @throws ConfigError for a file that holds something else, such as null or a list. */
export function checkIsObject(json: unknown, where: string): void {
  if (!isObject(json)) throw new ConfigError(`${where}: must hold a JSON object, but holds ${show(json)}`);
}
