/**
 * @file Reads values out of a GGUF file's metadata, with checks.
 */
import { CheckpointError } from '../../util/errors.ts';
import { show } from '../../util/json/show.ts';
import type { MetadataArray, MetadataValue } from './header.ts';
import type { PackedTexts } from './texts.ts';

/** No count in the metadata may exceed this. */
const MAX_COUNT = 2 ** 26;
/** What an array of no elements holds, whichever type it says. */
const NO_TEXTS: PackedTexts = {
  bytes: new Uint8Array(0),
  starts: new Uint32Array(0),
  lengths: new Uint32Array(0),
};

export class Metadata {
  readonly #values: ReadonlyMap<string, MetadataValue>;
  readonly #where: string;
  readonly #prefix: string;

  /**
   * @param where the file, for messages.
   * @param prefix put before each key, e.g. `llama.`.
   */
  constructor(values: ReadonlyMap<string, MetadataValue>, where: string, prefix = '') {
    this.#values = values;
    this.#where = where;
    this.#prefix = prefix;
  }

  /** The keys below `prefix`. */
  below(prefix: string): Metadata {
    return new Metadata(this.#values, this.#where, `${this.#prefix}${prefix}`);
  }

  has(key: string): boolean {
    return this.#values.has(this.#prefix + key);
  }

  /** A whole number from `min` on. Without `fallback` the key must be there. */
  int(key: string, fallback?: number, min = 0): number {
    const value = this.#need(key, fallback);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < min || value > MAX_COUNT)
      throw this.#wrong(key, `a whole number from ${min} to ${MAX_COUNT}`, value);
    return value;
  }

  intOrNull(key: string): number | null {
    return this.has(key) ? this.int(key) : null;
  }

  /**
   * Ids of tokens: one, or a list of them. Some files name tokens that there are not, e.g. 4294967295: they are left
   * out.
   * @param count of all tokens.
   */
  tokenIds(key: string, count: number): number[] {
    if (!this.has(key)) return [];
    const ids = this.isList(key) ? this.numbers(key) : [this.#need(key)];
    const wrong = ids.find((id) => !(typeof id === 'bigint' || (typeof id === 'number' && Number.isInteger(id))));
    if (wrong !== undefined) throw this.#wrong(key, 'the id of a token', wrong);
    return (ids as number[]).filter((id) => id >= 0 && id < count);
  }

  /** The first index of each of these texts that the list holds; none where there is no list. */
  indicesOf(key: string, texts: readonly string[]): ReadonlyMap<string, number> {
    return this.isList(key) ? this.#list(key, 'string').find(texts) : new Map();
  }

  float(key: string, fallback?: number): number {
    const value = this.#need(key, fallback);
    if (typeof value !== 'number' || !Number.isFinite(value)) throw this.#wrong(key, 'a number', value);
    return value;
  }

  floatOrNull(key: string): number | null {
    return this.has(key) ? this.float(key) : null;
  }

  bool(key: string, fallback?: boolean): boolean {
    const value = this.#need(key, fallback);
    // Some converters write 0 and 1.
    if (value === 0 || value === 1) return value === 1;
    if (typeof value !== 'boolean') throw this.#wrong(key, 'true or false', value);
    return value;
  }

  text(key: string, fallback?: string): string {
    const value = this.#need(key, fallback);
    if (typeof value !== 'string') throw this.#wrong(key, 'text', value);
    return value;
  }

  textOrNull(key: string): string | null {
    return this.has(key) ? this.text(key) : null;
  }

  /** Whole numbers, one for each of `length`: a single number stands for all. */
  intsPer(length: number, key: string, fallback?: number): number[] {
    const value = this.#need(key, fallback);
    if (!isArray(value)) return new Array<number>(length).fill(this.int(key, fallback));
    const numbers = this.numbers(key);
    if (numbers.length < length) throw this.#wrong(key, `${length} numbers`, `${numbers.length} of them`);
    const wrong = numbers.find((number) => !Number.isInteger(number) || number < 0 || number > MAX_COUNT);
    if (wrong !== undefined) throw this.#wrong(key, `whole numbers from 0 to ${MAX_COUNT}`, wrong);
    return numbers.slice(0, length);
  }

  numbers(key: string): number[] {
    const values = this.#list(key, 'number').values();
    const wrong = values.find((value) => typeof value !== 'number');
    if (wrong !== undefined) throw this.#wrong(key, 'numbers', wrong);
    return values as number[];
  }

  /** As {@link numbers}, in an array of the file's type where there is one: of 100,000 numbers that takes no time. */
  packedNumbers(key: string): ArrayLike<number> {
    return this.#list(key, 'number').numbers?.() ?? this.numbers(key);
  }

  texts(key: string): string[] {
    return this.#list(key, 'string').values() as string[];
  }

  /** The texts of a list as the file has them. */
  packedTexts(key: string): PackedTexts {
    return this.#list(key, 'string').packed ?? NO_TEXTS;
  }

  bools(key: string): boolean[] {
    return this.#list(key, 'boolean').values() as boolean[];
  }

  /**
   * Some elements of a list of numbers, without decoding the others; `fallback` for those beyond its end, and where
   * there is no list.
   */
  numbersAt(key: string, indices: readonly number[], fallback: number): number[] {
    const list = this.isList(key) ? this.#list(key, 'number') : null;
    return indices.map((index) => Number(list?.at(index) ?? fallback));
  }

  /** Whether the key holds an array. */
  isList(key: string): boolean {
    return isArray(this.#values.get(this.#prefix + key));
  }

  /** An error about this key. */
  fail(key: string, what: string): CheckpointError {
    return new CheckpointError(`${this.#where}: metadata ${this.#prefix}${key} ${what}`);
  }

  #list(key: string, type: MetadataArray['elementType']): MetadataArray {
    const value = this.#need(key);
    if (!isArray(value)) throw this.#wrong(key, 'an array', value);
    if (value.length > 0 && value.elementType !== type)
      throw this.#wrong(key, `an array of type ${type}`, `one of type ${value.elementType}`);
    return value;
  }

  #need(key: string, fallback?: MetadataValue): MetadataValue {
    const value = this.#values.get(this.#prefix + key) ?? fallback;
    if (value === undefined)
      throw new CheckpointError(
        `${this.#where}: the metadata lack ${this.#prefix}${key}: the file is incomplete; convert the model again`,
      );
    return value;
  }

  #wrong(key: string, wanted: string, found: MetadataValue): CheckpointError {
    const shown = isArray(found) ? `an array of ${found.length}` : show(String(found));
    return this.fail(key, `must be ${wanted}, but is ${shown}`);
  }
}

function isArray(value: MetadataValue | undefined): value is MetadataArray {
  return typeof value === 'object';
}
