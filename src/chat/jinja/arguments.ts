/**
 * @file Arguments of functions by their names, as Python binds them.
 */
import { JinjaError } from './errors.ts';
import { isTrue, type Kwargs, numberOf, typeName, Undefined, type Value } from './values.ts';

/** The arguments of one call. */
export class Arguments {
  readonly #name: string;
  readonly #values: ReadonlyMap<string, Value>;

  /** @throws JinjaError for more arguments than there are names, and for unknown names. */
  constructor(name: string, names: readonly string[], args: readonly Value[], kwargs: Kwargs) {
    if (args.length > names.length)
      throw new JinjaError(`TypeError: ${name}() takes ${names.length} arguments, but ${args.length} are given`);
    const values = new Map<string, Value>(args.map((value, i) => [names[i], value]));
    for (const [key, value] of kwargs) {
      if (!names.includes(key)) throw new JinjaError(`TypeError: ${name}() has no argument '${key}'`);
      if (values.has(key)) throw new JinjaError(`TypeError: ${name}() got two values for '${key}'`);
      values.set(key, value);
    }
    this.#name = name;
    this.#values = values;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  get(key: string): Value {
    return this.#values.has(key) ? this.#values.get(key)! : null;
  }

  /** An argument that must be given. */
  need(key: string): Value {
    if (!this.#values.has(key)) throw new JinjaError(`TypeError: ${this.#name}() needs the argument '${key}'`);
    return this.#values.get(key)!;
  }

  text(key: string, fallback?: string): string {
    const value = fallback === undefined || this.#values.has(key) ? this.need(key) : fallback;
    if (value instanceof Undefined) value.fail();
    if (typeof value === 'string') return value;
    throw new JinjaError(`TypeError: '${key}' of ${this.#name}() must be a str, but is ${typeName(value)}`);
  }

  /** A text, or null where none is given. */
  textOrNull(key: string): string | null {
    return this.get(key) === null ? null : this.text(key);
  }

  int(key: string, fallback?: number): number {
    const value = fallback === undefined || this.#values.has(key) ? this.need(key) : fallback;
    return Math.trunc(numberOf(value, `an int as '${key}' of ${this.#name}()`));
  }

  bool(key: string, fallback: boolean): boolean {
    return this.#values.has(key) ? isTrue(this.#values.get(key)!) : fallback;
  }
}
