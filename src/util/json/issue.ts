/**
 * @file What is wrong with a JSON value, in words: of what valibot found.
 */
import type { BaseIssue } from 'valibot';
import { shown } from '../option-names.ts';

const BOUNDS: Readonly<Record<string, string>> = {
  min_value: 'at least',
  max_value: 'at most',
  gt_value: 'above',
  lt_value: 'below',
};
const LENGTHS: Readonly<Record<string, string>> = { min_length: 'at least', max_length: 'at most' };
const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  boolean: 'true or false',
  array: 'an array',
  Array: 'an array',
  object: 'an object',
  Object: 'an object',
  record: 'an object',
};

/**
 * @param name of what is wrong, such as the field of a request.
 * @returns a sentence such as `n must be at most 16, but is 1000`.
 */
export function issueText(name: string, issue: BaseIssue<unknown>): string {
  const { type, input, expected } = issue;
  const { requirement } = issue as { readonly requirement?: unknown };
  // A pattern is shown in the schema's own words, never as a regular expression.
  if (type === 'regex') return `${name} ${issue.message}, but is ${shown(input)}`;
  if (!issue.message.startsWith('Invalid ')) return `${name}: ${issue.message}`; // a schema's own words
  if (input === undefined) return `${name} is missing`;
  if (type in BOUNDS) return `${name} must be ${BOUNDS[type]} ${String(requirement)}, but is ${shown(input)}`;
  if (type in LENGTHS) {
    const { length } = input as ArrayLike<unknown>;
    const [unit, units] = typeof input === 'string' ? ['character', 'characters'] : ['item', 'items'];
    return `${name} must have ${LENGTHS[type]} ${String(requirement)} ${requirement === 1 ? unit : units}, but has ${length}`;
  }
  if (type === 'integer') return `${name} must be a whole number, but is ${shown(input)}`;
  if (expected === null) return `${name}: ${issue.message}`;
  const allowed = expected.replace(/^\((.*)\)$/, '$1').split(' | ');
  const words = [...new Set(allowed.map((each) => TYPES[each] ?? each))].filter(
    (each) => each !== 'null' && each !== 'undefined',
  );
  return `${name} must be ${words.join(' or ')}, but is ${shown(input)}`;
}
