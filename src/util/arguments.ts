/**
 * @file Checks arguments that name a model or a path.
 */
import { InputError } from './errors.ts';
import { isList, shown } from './option-names.ts';

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
 * @param what the function, or the object that is made, such as `recall` or `an AnswerParser`.
 * @param needed what the call needs, and what gives it, such as `an open checkpoint, as openCheckpoint gives it`.
 * @throws InputError for a value that does not fit: undefined, from a variable that is not set, too.
 */
export function checkArgument(what: string, needed: string, value: unknown, fits: boolean): void {
  if (!fits) throw new InputError(`${what} needs ${needed}, but got ${shown(value)}`);
}

/** As {@link checkArgument}. @param field what all of them have, as an object. */
export function checkHas(what: string, needed: string, value: unknown, field: string): void {
  const has =
    typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[field] === 'object';
  checkArgument(what, needed, value, has);
}

/** As {@link checkArgument}, for a text. */
export function checkText(what: string, needed: string, value: unknown): asserts value is string {
  checkArgument(what, needed, value, typeof value === 'string');
}

/** As {@link checkArgument}, for a list. @param fits whether a value may be in it. */
export function checkList(what: string, needed: string, list: unknown, fits: (value: unknown) => boolean): void {
  checkArgument(what, needed, list, isList(list));
  const values = list as ArrayLike<unknown>;
  for (let i = 0; i < values.length; i++)
    if (!fits(values[i]))
      throw new InputError(`${what} needs ${needed}, but the one at index ${i} is ${shown(values[i])}`);
}

/** As {@link checkList}, for a list that must not be empty. */
export function checkFilledList(what: string, needed: string, list: unknown, fits: (value: unknown) => boolean): void {
  checkList(what, needed, list, fits);
  if ((list as ArrayLike<unknown>).length === 0)
    throw new InputError(`${what} needs ${needed}, but got an empty array`);
}

/**
 * @param what the path belongs to, such as `loadCache`.
 * @throws InputError for what is no path: undefined, from a variable that is not set, and an empty one, too.
 */
export function checkPath(what: string, path: unknown): asserts path is string {
  checkText(what, 'a path as a string', path);
  if (path === '') throw new InputError(`the path given to ${what} is empty`);
}
