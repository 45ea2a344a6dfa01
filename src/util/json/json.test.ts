import { expect, it } from 'vitest';
import { ConfigError } from '../errors.ts';
import { parseJson, parseJsonObject } from './json.ts';

it('reads numbers as Python writes them, outside of strings', () => {
  const text = '{"a": [0.0, Infinity, -Infinity, NaN], "Infinity": "a \\" NaN"}';
  expect(parseJsonObject(text, 'here', ConfigError)).toEqual({
    a: [0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, null],
    Infinity: 'a " NaN',
  });
});

it('says where the text is from, with the error of the module that reads it', () => {
  const refusal = (text: string) => () => parseJsonObject(text, 'x: y.json', ConfigError);
  expect(refusal('{"a":')).toThrow(ConfigError);
  expect(refusal('{"a":')).toThrow(/^x: y\.json is not valid JSON \(/);
  for (const text of ['[1]', 'null', '"a"', 'Infinity'])
    expect(refusal(text)).toThrow(/^x: y\.json must be a JSON object$/);
  expect(parseJson('[1]', 'here', ConfigError)).toEqual([1]);
});
