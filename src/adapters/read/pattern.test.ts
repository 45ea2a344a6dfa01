import fc from 'fast-check';
import { expect, test } from 'vitest';
import { AdapterError } from '../../util/errors.ts';
import { escaped, Pattern } from './pattern.ts';

const NAMES = ['model.layers.0.self_attn.q_proj', 'model.layers.11.mlp.down_proj', 'lm_head', 'a', 'aab', ''];

test.each([
  String.raw`.*\.(q_proj|v_proj)`,
  '^(?!.*mlp).*_proj$',
  String.raw`model\.layers\.(?:[0-9]|1[01])\..*`,
  String.raw`(?:.*\.)?layers\.\d{1,2}\.self_attn\.[qkv]_proj`,
  'a{1,2}b?',
  '(a|aa)+b',
  '(?=a).*',
  String.raw`\w+`,
  '[^.]*',
  '(a*)*b|',
])('says the same as the platform of %s', (source) => {
  const own = new Pattern(source);
  for (const name of NAMES) {
    expect(own.matchesAll(name), name).toBe(new RegExp(`^(?:${source})$`).test(name));
    expect(own.matchesStart(name), name).toBe(new RegExp(`^(?:${source})`).test(name));
  }
});

test('random patterns say the same as the platform', () => {
  const atom = fc.constantFrom('a', 'b', '.', '[ab]', '[^a]', '(a|b)', '(?:ab)', '(?!b)', '(?=a)', '\\w', '^', '$');
  const item = fc.tuple(atom, fc.constantFrom('', '*', '+', '?', '{2}', '{1,3}', '*?')).map(([a, q]) => {
    return /^(\^|\$|\(\?[!=])/.test(a) ? a : a + q;
  });
  const source = fc.array(item, { maxLength: 6 }).map((items) => items.join(''));
  fc.assert(
    fc.property(source, fc.stringMatching(/^[abc]{0,8}$/), (pattern, text) => {
      expect(new Pattern(pattern).matchesAll(text)).toBe(new RegExp(`^(?:${pattern})$`).test(text));
    }),
  );
});

test('any text is a pattern for itself', () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(new Pattern(escaped(text)).matchesAll(text)).toBe(true);
    }),
  );
});

test.each(['(', ')', '[', 'a{3,2}', '*', String.raw`(a)\1`, '(?<=a*)b', '(?P=x)', 'x'.repeat(3000), '(?', '\\'])(
  'refuses %s',
  (source) => {
    expect(() => new Pattern(source)).toThrow(AdapterError);
  },
);

test('hostile patterns end', () => {
  const text = 'a'.repeat(200);
  const begin = performance.now();
  expect(new Pattern('(a*)*b').matchesAll(text)).toBe(false);
  expect(new Pattern('(a|a|aa)*(a|a)*(a|a)*b').matchesAll(text)).toBe(false);
  expect(new Pattern(`${'.*'.repeat(400)}b`).matchesAll(text)).toBe(false);
  expect(() => new Pattern('((((((){999}){999}){999}){999}){999})*')).toThrow(/too large/);
  expect(performance.now() - begin).toBeLessThan(5000);
});
