import * as v from 'valibot';
import { expect, it } from 'vitest';
import { parseLines } from './json-lines.ts';

it('reads a value a line, and counts empty lines where it names one', () => {
  expect(parseLines('1\r\n\r\n2\n', v.number(), 'number')).toEqual([1, 2]);
  expect(() => parseLines('1\n\n\nx\n', v.number(), 'number')).toThrow(/^line 4 is not a number: /);
  const schema = v.object({ context: v.string() });
  expect(() => parseLines('{"x": 1}', schema, 'case')).toThrow(/^line 1 is not a case: context is missing$/);
  expect(() => parseLines('{"context": 1}', schema, 'case')).toThrow(/: context must be a string, but is 1$/);
  expect(() => parseLines('5', schema, 'case')).toThrow(/: the line must be an object, but is 5$/);
});
