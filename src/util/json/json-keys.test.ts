import fc from 'fast-check';
import { expect, it } from 'vitest';
import { findJsonFlaw } from './json-keys.ts';

it('finds keys that occur twice, however they are spelled', () => {
  expect(findJsonFlaw('{"a":1,"b":2,"a":3}', 8)).toEqual({ kind: 'duplicate', key: 'a' });
  expect(findJsonFlaw('{"a":1,"\\u0061" : 3}', 8)).toEqual({ kind: 'duplicate', key: 'a' });
  expect(findJsonFlaw('{"x":[{"q\\"":1,"q\\u0022":1}]}', 8)).toEqual({ kind: 'duplicate', key: 'q"' });
  expect(findJsonFlaw('{"__proto__":1,"__proto__":1}', 8)).toEqual({ kind: 'duplicate', key: '__proto__' });
});

it('is content with equal keys of different objects, and with values that equal keys', () => {
  expect(findJsonFlaw('{"a":{"a":"a"},"b":["a","a",{"a":"b"}]}', 8)).toBeUndefined();
  expect(findJsonFlaw('{"a":"{\\"a\\":1,\\"a\\":2}"}', 8)).toBeUndefined();
});

it('limits the depth beyond keys that occur twice, where these are no flaw', () => {
  expect(findJsonFlaw('{"a":1,"a":[2]}', 2, 'any')).toBeUndefined();
  expect(findJsonFlaw('{"a":1,"a":[[2]]}', 2, 'any')).toEqual({ kind: 'depth' });
});

it('limits the depth', () => {
  expect(findJsonFlaw('[[[]]]', 3)).toBeUndefined();
  expect(findJsonFlaw('['.repeat(1_000_000), 3)).toEqual({ kind: 'depth' });
});

it('finds nothing in what JSON.stringify makes, and does not mind broken text', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.nat(), (value, cut) => {
      const text = JSON.stringify(value);
      expect(findJsonFlaw(text, 1000)).toBeUndefined();
      findJsonFlaw(text.slice(0, cut % (text.length + 1)), 1000);
    }),
    { seed: 7, numRuns: 300 },
  );
});
