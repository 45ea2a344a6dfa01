/**
 * @file Files of cases: a JSON value a line.
 */
import * as v from 'valibot';
import { InputError } from '../util/errors.ts';

/**
 * The values of a file's lines; empty lines are left out.
 * @param what a line is, for messages.
 * @throws InputError for a line that is no such value.
 */
export function parseLines<T extends v.GenericSchema>(jsonl: string, schema: T, what: string): v.InferOutput<T>[] {
  return jsonl.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    try {
      return [v.parse(schema, JSON.parse(line))];
    } catch (cause) {
      throw new InputError(`line ${i + 1} is not a ${what}: ${(cause as Error).message}`);
    }
  });
}
