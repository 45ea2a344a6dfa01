/**
 * @file JSON of a checkpoint's files, as Python writes it.
 */
import { isObject } from './is-object.ts';

/**
 * What Python's json writes for numbers that JSON has not, outside of strings: `time_step_limit: [0.0, Infinity]` of
 * Mamba 2.
 */
const PYTHON_NUMBERS = /"[^"\\]*(?:\\.[^"\\]*)*"|-?\bInfinity\b|\bNaN\b/gs;
const asJson = (part: string): string =>
  part.startsWith('"') ? part : part === 'NaN' ? 'null' : part.replace('Infinity', '1e999');

/** The error of the module that reads the file. */
type Failure = new (message: string, options?: ErrorOptions) => Error;

/**
 * `Infinity` is read as such, and `NaN` as null.
 * @param where the file, for the message.
 * @throws the given error for what is not JSON.
 */
export function parseJson(text: string, where: string, Failure: Failure): unknown {
  try {
    return JSON.parse(/\b(?:Infinity|NaN)\b/.test(text) ? text.replace(PYTHON_NUMBERS, asJson) : text);
  } catch (cause) {
    throw new Failure(`${where} is not valid JSON (${(cause as Error).message})`, { cause });
  }
}

/** The same for an object. @throws the given error for anything else. */
export function parseJsonObject(text: string, where: string, Failure: Failure): Record<string, unknown> {
  const parsed = parseJson(text, where, Failure);
  if (!isObject(parsed)) throw new Failure(`${where} must be a JSON object`);
  return parsed;
}
