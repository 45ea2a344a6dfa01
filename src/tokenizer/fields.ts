/**
 * @file Fields of tokenizer.json, with errors that say which one is wrong.
 */
import { TokenizerError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { show } from '../util/json/show.ts';

export type Json = Readonly<Record<string, unknown>>;

export function object(value: unknown, name: string): Json {
  if (!isObject(value)) fail(`${name} must be an object, but is ${show(value)}`);
  return value;
}

export function list(value: unknown, name: string): readonly unknown[] {
  if (!Array.isArray(value)) fail(`${name} must be a list, but is ${show(value)}`);
  return value;
}

/** A text; `fallback` where it is left out. */
export function text(part: Json, key: string, fallback?: string): string {
  const value = part[key] ?? fallback;
  if (typeof value !== 'string') fail(`"${key}" of a ${show(part['type'])} must be a text, but is ${show(value)}`);
  return value;
}

/** True or false; `fallback` where it is left out. */
export function flag(part: Json, key: string, fallback: boolean): boolean {
  const value = part[key] ?? fallback;
  if (typeof value !== 'boolean')
    fail(`"${key}" of a ${show(part['type'])} must be true or false, but is ${show(value)}`);
  return value;
}

export function count(part: Json, key: string, fallback?: number): number {
  const value = part[key] ?? fallback;
  if (!(typeof value === 'number' && Number.isSafeInteger(value) && value >= 0))
    fail(`"${key}" of a ${show(part['type'])} must be a whole number from 0 on, but is ${show(value)}`);
  return value;
}

export function fail(what: string): never {
  throw new TokenizerError(`tokenizer.json: ${what}`);
}
