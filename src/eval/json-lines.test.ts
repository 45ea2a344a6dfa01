import * as v from 'valibot';
import { expect, it } from 'vitest';
import { parseLines } from './json-lines.ts';

it('reads a value a line, and counts empty lines where it names one', () => {
  expect(parseLines('1\r\n\r\n2\n', v.number(), 'number')).toEqual([1, 2]);
  expect(() => parseLines('1\n\n\nx\n', v.number(), 'number')).toThrow(/^line 4 is not a number: /);
});
