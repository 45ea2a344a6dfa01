/**
 * @file Files of cases: a JSON value a line.
 */
import * as v from 'valibot';
import { InputError } from '../util/errors.ts';
import { issueText } from '../util/json/issue.ts';

/**
 * The values of a file's lines; empty lines are left out.
 * @param what a line is, for messages.
 * @throws InputError for a line that is no such value.
 */
export function parseLines<T extends v.GenericSchema>(jsonl: string, schema: T, what: string): v.InferOutput<T>[] {
  return jsonl.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return [];
    const where = `line ${i + 1} is not a ${what}`;
    const { success, output, issues } = v.safeParse(schema, parsed(line, where));
    if (success) return [output];
    throw new InputError(`${where}: ${issueText(v.getDotPath(issues[0]) ?? 'the line', issues[0])}`);
  });
}

function parsed(line: string, where: string): unknown {
  try {
    return JSON.parse(line);
  } catch (cause) {
    throw new InputError(`${where}: ${(cause as Error).message}`, { cause });
  }
}
