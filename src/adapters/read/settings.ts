/**
 * @file Reads an adapter's settings with checks: each value is asked for by its type, and what is not read must have no
 * value.
 */
import { AdapterError } from '../../util/errors.ts';
import { parseJsonObject } from '../../util/json/json.ts';
import { show } from '../../util/json/show.ts';

export class Settings {
  readonly where: string;
  readonly #values: Readonly<Record<string, unknown>>;
  readonly #used = new Set<string>();

  private constructor(values: Readonly<Record<string, unknown>>, where: string) {
    this.#values = values;
    this.where = where;
  }

  /** @throws AdapterError where the text is no JSON object. */
  static parse(text: string, where: string): Settings {
    return new Settings(parseJsonObject(text, where, AdapterError), where);
  }

  /** A value of any type; undefined where it is absent or null. */
  get(key: string): unknown {
    this.#used.add(key);
    return this.#values[key] ?? undefined;
  }

  bool(key: string, fallback: boolean): boolean {
    const value = this.get(key) ?? fallback;
    if (typeof value !== 'boolean') throw this.fail(key, 'must be true or false');
    return value;
  }

  /** A number above 0. */
  positive(key: string, fallback?: number): number {
    return positive(this.get(key) ?? fallback, (why) => this.fail(key, why));
  }

  /** A whole number above 0. */
  count(key: string, fallback?: number): number {
    const value = this.positive(key, fallback);
    if (!Number.isSafeInteger(value)) throw this.fail(key, 'must be a whole number');
    return value;
  }

  text(key: string): string | undefined {
    const value = this.get(key);
    if (value !== undefined && typeof value !== 'string') throw this.fail(key, 'must be a text');
    return value;
  }

  /** A list of texts; a single text is one too. */
  texts(key: string): string[] | undefined {
    const value = this.get(key);
    if (value === undefined) return undefined;
    const list = typeof value === 'string' ? [value] : value;
    if (!Array.isArray(list) || !list.every((item) => typeof item === 'string'))
      throw this.fail(key, 'must be a list of texts');
    return list;
  }

  /** Numbers above 0 by text. */
  numbers(key: string): [string, number][] {
    const value = this.get(key) ?? {};
    if (typeof value !== 'object' || Array.isArray(value)) throw this.fail(key, 'must be an object of numbers');
    return Object.entries(value as object).map(([name, n]) => [
      name,
      positive(n, (why) => this.fail(`${key} ${JSON.stringify(name)}`, why)),
    ]);
  }

  /** Keys that say how the adapter was trained, and nothing on what it computes. */
  ignore(...keys: readonly string[]): void {
    for (const key of keys) this.#used.add(key);
  }

  /** @throws AdapterError names a key that has a value and is not read. */
  checkUnused(): void {
    for (const [key, value] of Object.entries(this.#values)) {
      if (this.#used.has(key) || isNothing(value)) continue;
      throw this.fail(key, `(${show(value)}) is not supported`);
    }
  }

  fail(key: string, what: string): AdapterError {
    return new AdapterError(`${this.where}: ${key} ${what}`);
  }
}

function positive(value: unknown, fail: (why: string) => AdapterError): number {
  if (value === undefined) throw fail('is missing');
  if (typeof value !== 'number' || !Number.isFinite(value) || value <= 0)
    throw fail(`must be a number above 0, but is ${show(value)}`);
  return value;
}

function isNothing(value: unknown): boolean {
  if (value === null || value === false || value === '') return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}
