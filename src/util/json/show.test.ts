import { expect, it } from 'vitest';
import { show } from './show.ts';

it('writes a value as JSON on one line, and cuts it', () => {
  expect(show({ a: [1, null, 'x\ny'] })).toBe('{"a":[1,null,"x\\ny"]}');
  expect(show(undefined)).toBe('missing');
  expect(show('a'.repeat(81))).toBe(`"${'a'.repeat(80)}…"`);
  expect(show('ab', 2)).toBe('"ab"');
  expect(show([1, 2, 3], 3)).toBe('[1,…');
});

it('escapes what a terminal would obey', () => {
  expect(show('\x1b[2J\x7f')).toBe('"\\u001b[2J\\u007f"');
  expect(show(['\x7f'])).toBe('["\\u007f"]');
});
