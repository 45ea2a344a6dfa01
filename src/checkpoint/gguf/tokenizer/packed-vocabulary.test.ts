import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { packedTexts } from '../../../../test/support/packed-texts.ts';
import { TokenizerError } from '../../../util/errors.ts';
import { PackedMerges, PackedVocabulary } from './packed-vocabulary.ts';

const nothing = () => false;

describe('a vocabulary by its bytes', () => {
  it('finds each token, and the first of two that are equal', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme', maxLength: 4 })),
        fc.string({ maxLength: 2 }),
        (tokens, other) => {
          const vocabulary = new PackedVocabulary(packedTexts(tokens), nothing);
          for (const token of [...tokens, other])
            expect(vocabulary.get(token) ?? -1, JSON.stringify(token)).toBe(tokens.indexOf(token));
          expect(tokens.map((_, id) => vocabulary.tokenOf(id))).toEqual(tokens);
          expect(vocabulary.maxId).toBe(tokens.length - 1);
        },
      ),
    );
  });

  it('has no tokens that are left out, in JSON neither', () => {
    const vocabulary = new PackedVocabulary(packedTexts(['a', 'b', 'c', 'a']), (id) => id === 1);
    expect([vocabulary.has('a'), vocabulary.has('b'), vocabulary.tokenOf(1), vocabulary.tokenOf(9)]).toEqual([
      ...[true, false, undefined, undefined],
    ]);
    expect(JSON.stringify(vocabulary)).toBe('{"a":0,"c":2}');
  });

  it('decodes all tokens where many are asked for', () => {
    const tokens = Array.from({ length: 1500 }, (_, id) => `Ġ${id}`);
    const vocabulary = new PackedVocabulary(packedTexts(tokens), (id) => id === 1400);
    for (let round = 0; round < 2; round++)
      expect(tokens.map((_, id) => vocabulary.tokenOf(id))).toEqual(tokens.with(1400, undefined as unknown as string));
    expect(vocabulary.tokenOf(1500)).toBeUndefined();
  });
});

describe('merges by their bytes', () => {
  const vocabulary = new PackedVocabulary(packedTexts(['a', 'ä', 'aä', ' ', ' a', 'aäa']), nothing);
  const merges = (...texts: string[]) => new PackedMerges(vocabulary, packedTexts(texts));

  it('are ids of three tokens', () => {
    expect([...merges('a ä', 'aä a').ids]).toEqual([0, 1, 2, 2, 0, 5]);
    expect(JSON.stringify(merges('a ä', 'aä a'))).toBe('["a ä","aä a"]');
  });

  it('may have a token that begins with a space', () => {
    expect([...merges('  a').ids]).toEqual([3, 0, 4]);
    expect(JSON.stringify(merges('  a', 'a ä'))).toBe('[[" ","a"],["a","ä"]]');
  });

  it.each([
    ['ab', /merge "ab" is not two tokens/],
    ['a ', /merge "a " is not two tokens/],
    ['', /merge "" is not two tokens/],
    ['a b', /merge 0, "a b", needs a token that the file does not have/],
    ['ä a', /merge 0, "ä a", needs a token that the file does not have/],
  ])('%j is refused', (merge, message) => {
    const read = () => merges(merge).ids;
    expect(read).toThrow(TokenizerError);
    expect(read).toThrow(message);
  });
});
