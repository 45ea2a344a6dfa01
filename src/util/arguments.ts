/**
 * @file Checks arguments that name a model or a path.
 */
import { InputError } from './errors.ts';
import { shown } from './option-names.ts';

/**
 * The model that a call names, or the small one where the call has no arguments at all.
 * @param given all arguments of the call. A model that is undefined comes from a variable that is not set: it must not
 * silently become the small one.
 * @throws InputError for a model that is undefined.
 */
export function modelOrSmall<M>(what: string, given: readonly [model?: M, ...rest: unknown[]], small: M): M {
  if (given.length === 0) return small;
  if (given[0] === undefined)
    throw new InputError(
      `${what} got undefined as the model, such as from a variable that is not set. Name a model; ` +
        `for the small one that ships, call ${what}() or ${what}('${small}')`,
    );
  return given[0];
}

/**
 * @param needed what the call needs, and what gives it, such as `an open checkpoint, as openCheckpoint gives it`.
 * @param field what all of them have.
 * @throws InputError for anything else: undefined, from a variable that is not set, too.
 */
export function checkHas(what: string, needed: string, value: unknown, field: string): void {
  if (typeof value !== 'object' || value === null || typeof (value as Record<string, unknown>)[field] !== 'object')
    throw new InputError(`${what} needs ${needed}, but got ${shown(value)}`);
}

/**
 * @param what the path belongs to, such as `loadCache`.
 * @throws InputError for what is no path: undefined, from a variable that is not set, and an empty one, too.
 */
export function checkPath(what: string, path: unknown): asserts path is string {
  if (typeof path !== 'string') throw new InputError(`${what} needs a path as a string, but got ${shown(path)}`);
  if (path === '') throw new InputError(`the path given to ${what} is empty`);
}
