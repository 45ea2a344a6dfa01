/** @file Messages of the errors of wrong arguments. */
import { expect } from 'vitest';
import { InputError } from '../../src/util/errors.ts';

/** What is no list, no text and no object of a certain kind, and how messages show it. */
export const WRONG: readonly (readonly [value: unknown, shown: string])[] = [
  [undefined, 'undefined'],
  [null, 'null'],
  [5, '5'],
  [{}, 'an object'],
];

/** What is said of each of some values. */
export function refusals(
  call: (value: never) => unknown,
  values: readonly unknown[] = WRONG.map(([value]) => value),
): Promise<string[]> {
  return Promise.all(
    values.map(async (value) => {
      try {
        await call(value as never);
      } catch (error) {
        expect(error).toBeInstanceOf(InputError);
        return (error as Error).message;
      }
      return 'not refused';
    }),
  );
}

/** The messages for {@link WRONG}. @param needed what begins them, such as `recall needs a list of cases`. */
export const refused = (needed: string, wrong = WRONG): string[] =>
  wrong.map(([, shown]) => `${needed}, but got ${shown}`);
