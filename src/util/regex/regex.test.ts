import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Regex, RegexError } from './regex.ts';

/** What the platform's own matcher finds. */
function platform(source: string, text: string): number[] {
  return [...text.matchAll(new RegExp(source, 'gu'))].flatMap(({ 0: match, index }) => [index, index + match.length]);
}
const found = (source: string, text: string): string[] => {
  const ends = new Regex(source).matches(text);
  return Array.from({ length: ends.length / 2 }, (_, i) => text.slice(ends[2 * i], ends[2 * i + 1]));
};

const PATTERNS = [
  "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
  '[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+',
  '[\\p{Lu}\\p{Lt}]*[\\p{Ll}\\p{M}]+|a|[^\\n]',
  'a*?b|a+|(?:ab?){2,3}',
  '(?:a|ab)(?:c|bcd)?(?:d*)',
  '(?<=a)b|(?<!b)c|(?<=ab|c)d',
  '(?=[^\\n]*b)a|b(?!a)[^\\n]',
  '(?:a*)*b|(?:a?){3}|c*',
  '(?:)|x',
  '[a-c]{2}|[^a-c\\n]|\\.|[\\]\\-]',
  '\\u0061|\\x62|[\\u{1F600}-\\u{1F64F}]',
];

it.each(PATTERNS)('finds what the platform finds: %s', (source) => {
  const regex = new Regex(source);
  const char = fc.oneof(
    fc.constantFrom(...'aabbccd ABÉé1٣\n\r\t.-]😀𝒜\u0301\u00a0x'),
    fc.string({ unit: 'grapheme', maxLength: 1 }),
  );
  fc.assert(
    fc.property(fc.array(char, { maxLength: 20 }), (chars) => {
      const text = chars.join('');
      fc.pre(!/[\u0085\ufeff]/.test(text)); // the platform's \s differs from Unicode's
      expect(regex.matches(text)).toEqual(platform(source, text));
    }),
    { numRuns: 500, examples: [[['a', 'a', 'b']], [[' ', ' ', 'a']], [['\r', '\n', ' ', 'b']]] },
  );
});

describe('what the platform does not know', () => {
  it.each([
    ['a++a|b', 'aaab', ['b']],
    ['a?+ab|b', 'aab', ['aab']],
    ['(?>a*)a|b', 'aab', ['b']],
    ['(?>ab|a)c', 'abc ac', ['abc', 'ac']],
    ["(?i:'s|'ll)|x", "'S 'lL X x", ["'S", "'lL", 'x']],
    ['(?i)k', 'kK\u212a', ['k', 'K', '\u212a']],
    ['a(?i)b|c', 'aB C', ['aB', 'C']],
    ['[[:alpha:]]+|[[:^space:]]', 'ab1 é', ['ab', '1', 'é']],
    ['[a-z&&[^aeiou]]+', 'hello', ['h', 'll']],
    ['\\h+', 'xff12g', ['ff12']],
    ['\\w+', 'naïve e\u0301_1 ١', ['naïve', 'e\u0301_1', '١']],
    ['\\s', 'a\u0085\ufeffb', ['\u0085']],
    ['^a$', 'a\na\nb', ['a', 'a']],
    ['\\Aa|a\\z', 'a\na', ['a', 'a']],
    ['\\bfoo\\b', 'foo foobar', ['foo']],
    ['a{,2}b', 'aaab', ['aab']],
    ['x{1,2}+', 'xxxxx', ['xxxxx']],
    ['(?<name>a)(?#comment)b', 'ab', ['ab']],
    ['\\p{Han}+|\\p{Hiragana}', '日本の', ['日本', 'の']],
    ['\\p{^L}|\\P{N}', '1', ['1']],
  ])('%s in %s', (source, text, expected) => {
    expect(found(source, text)).toEqual(expected);
  });

  it.each([
    '(',
    ')',
    '[a',
    '*a',
    'a{3,1}',
    '\\',
    '\\1',
    '\\p{Nonsense}',
    '[b-a]',
    '(?<=a*)b',
    '(?&x)',
    'a{2000}',
    '[[:nope:]]',
    '(?#x',
    `${'('.repeat(300)}a`,
  ])('refuses %s', (source) => expect(() => new Regex(source)).toThrow(RegexError));
});

describe('hostile patterns and texts end soon', () => {
  it.each([
    ['(a+)+$', `${'a'.repeat(100_000)}!`],
    ['(\\s|\\s\\s)*x', ' '.repeat(100_000)],
    ['(a|a)*b', 'a'.repeat(100_000)],
    ['a+b', 'a'.repeat(200_000)],
    ['\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+', ' '.repeat(200_000)],
    ['(a*)*c', 'a'.repeat(50_000)],
    ['(?:a?){50}a{50}', 'a'.repeat(49)],
    ['(x+x+)+y', 'x'.repeat(50_000)],
  ])('%s', (source, text) => {
    const start = performance.now();
    try {
      new Regex(source).matches(text);
    } catch (error) {
      expect(error).toBeInstanceOf(RegexError);
    }
    expect(performance.now() - start).toBeLessThan(10_000);
  });

  it('of any characters', () => {
    const piece = fc.constantFrom(
      'a',
      'b',
      '\\s',
      '.',
      '(',
      ')',
      '|',
      '*',
      '+',
      '?',
      '(?:',
      '(?=',
      '(?<!',
      '[',
      ']',
      '^',
      '{2,}',
      '{,3}',
      '\\p{L}',
      '-',
      '$',
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 14 }), (pieces) => {
        try {
          new Regex(pieces.join('')).matches('aab ba\n'.repeat(20));
        } catch (error) {
          expect(error).toBeInstanceOf(RegexError);
        }
      }),
      { numRuns: 3000 },
    );
  });
});
