/**
 * @file Refuses options that do not exist, and says which one was probably meant; refuses values of another type.
 */
import { InputError } from './errors.ts';

/** What the value of an option must be; `true`: the code that reads it checks it. */
export type OptionKind = true | keyof typeof KINDS;

/** What an options type has: `satisfies OptionNames<LoadOptions>` makes the compiler check that none is missing. */
export type OptionNames<T> = Readonly<Record<keyof T, OptionKind>>;

/** An array, or a typed one. */
export const isList = (value: unknown): boolean => Array.isArray(value) || ArrayBuffer.isView(value);
const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;
const KINDS = {
  number: ['a number', (value: unknown) => typeof value === 'number'],
  string: ['a string', (value: unknown) => typeof value === 'string'],
  boolean: ['true or false', (value: unknown) => typeof value === 'boolean'],
  function: ['a function', (value: unknown) => typeof value === 'function'],
  list: ['an array', isList],
  strings: ['a string or an array of strings', (value: unknown) => typeof value === 'string' || isStrings(value)],
  object: ['an object', (value: unknown) => isObject(value) && !isList(value)],
  signal: ['an AbortSignal', (value: unknown) => isObject(value) && 'aborted' in value && 'addEventListener' in value],
} as const;

const isStrings = (value: unknown): boolean => Array.isArray(value) && value.every((one) => typeof one === 'string');

/** A value in a message: short, and strings in quotes. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  if (isList(value)) return 'an array';
  if (typeof value === 'bigint') return `${value}n`;
  return isObject(value) ? 'an object' : typeof value === 'function' ? 'a function' : String(value);
}

/**
 * Checks the names and the types of options.
 * @param what the options belong to, for the message, such as `loadModel`.
 * @param known all names that there are, and what their values must be.
 * @param renamed names of before or of other libraries, and what they are called here.
 * @param word what the message calls them.
 * @throws InputError for a name that is not known, whatever its value, and for a value of another type; undefined
 * counts as not given.
 */
export function checkOptionNames(
  what: string,
  options: object,
  known: Readonly<Record<string, OptionKind>>,
  renamed: Readonly<Record<string, string>> = {},
  word = 'option',
): void {
  checkOptionsObject(what, options);
  for (const [name, value] of Object.entries(options)) {
    if (value === undefined) continue;
    if (!Object.hasOwn(known, name))
      throw new InputError(`${what} has no ${word} ${name}${hintOf(name, known, renamed)}`);
    const kind = known[name];
    if (kind === true) continue;
    const [told, fits] = KINDS[kind];
    if (!fits(value)) throw new InputError(`${name} of ${what} must be ${told}, but is ${shown(value)}`);
  }
}

/**
 * @param required the options that have no default.
 * @throws InputError for options that are no object (undefined, from a variable that is not set, is none either), or
 * that lack one of those.
 */
export function checkOptionsObject<T>(
  what: string,
  options: T,
  required: readonly (keyof T & string)[] = [],
): asserts options is T & object {
  const needed = required.length > 0 ? ` with ${required.join(', ')}` : '';
  if (!isObject(options) || isList(options))
    throw new InputError(`the options of ${what} must be an object${needed}, but are ${shown(options)}`);
  const missing = required.find((name) => options[name] === undefined);
  if (missing !== undefined) throw new InputError(`${what} needs the option ${missing}, which is not given`);
}

function hintOf(name: string, known: object, renamed: Readonly<Record<string, string>>): string {
  if (Object.hasOwn(renamed, name)) return `; it is called ${renamed[name]} here`;
  const near = closestName(name, Object.keys(known));
  return near === undefined ? `; there are ${Object.keys(known).sort().join(', ')}` : `; did you mean ${near}?`;
}

/** The name that differs least; undefined where all differ by more than a third of their letters. */
export const closestName = (name: string, names: readonly string[]): string | undefined =>
  closestNames(name, names, 1)[0];

/** The names that differ least, the nearest first, without those that differ by more than a third of their letters. */
export function closestNames(name: string, names: readonly string[], most: number): string[] {
  return names
    .map((candidate) => ({ candidate, distance: editDistance(name.toLowerCase(), candidate.toLowerCase()) }))
    .filter(
      ({ candidate, distance }) => distance <= Math.max(1, Math.ceil(Math.max(candidate.length, name.length) / 3)),
    )
    .sort((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ candidate }) => candidate);
}

/** Letters to insert, remove or replace, and neighbours to swap (optimal string alignment). */
function editDistance(a: string, b: string): number {
  let [before, row] = [[] as number[], Array.from({ length: b.length + 1 }, (_, j) => j)];
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, replaced);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1])
        next[j] = Math.min(next[j], before[j - 2] + 1);
    }
    [before, row] = [row, next];
  }
  return row[b.length];
}
