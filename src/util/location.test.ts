import { expect, it } from 'vitest';
import { locationOf } from './location.ts';

it('is where an error was thrown, or where a module can not be read', () => {
  const error = new Error('no');
  error.stack = 'Error: no\n    at Object.score (file:///a/b.mjs:3:12)\n    at node:internal/x:1:1';
  expect(locationOf(error)).toBe(' (at file:///a/b.mjs:3:12)');
  const syntax = new SyntaxError('Unexpected end of input');
  syntax.stack = 'file:///a/b.mjs:3\n\n\n\nSyntaxError: Unexpected end of input\n    at compile (node:x:1:2)';
  expect(locationOf(syntax)).toBe(' (at file:///a/b.mjs:3)');
  expect([locationOf('no'), locationOf(Object.assign(new Error('no'), { stack: undefined }))]).toEqual(['', '']);
});
