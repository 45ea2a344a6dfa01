import { describe, expect, it } from 'vitest';
import { byteLetters, type Json } from '../../test/support/tokenizers.ts';
import { TokenizerError } from '../util/errors.ts';
import { decoder } from './decoders.ts';
import { normalizer } from './normalizers.ts';
import { preTokenizer } from './pre-tokenizers.ts';
import { Tokenizer } from './tokenizer.ts';

/** The values of all tests here are those of Hugging Face's own library (tokenizers 0.23, in Rust). */
const pieces = (part: Json, text: string) => preTokenizer(part)({ text, isFirst: true }).map((piece) => piece.text);

describe('pre-tokenizers', () => {
  const split = (behavior: string, invert = false): Json => ({
    type: 'Split',
    pattern: { Regex: invert ? '[a-z]+' : '[-,]' },
    behavior,
    invert,
  });
  it.each<[string, Json, string, string[]]>([
    ['Isolated', split('Isolated'), 'a-b--c,-d', ['a', '-', 'b', '-', '-', 'c', ',', '-', 'd']],
    ['Removed', split('Removed'), 'a-b--c,-d', ['a', 'b', 'c', 'd']],
    ['MergedWithPrevious', split('MergedWithPrevious'), 'a-b--c,-d', ['a-', 'b-', '-', 'c,', '-', 'd']],
    ['MergedWithNext', split('MergedWithNext'), 'a-b--c,-d', ['a', '-b', '-', '-c', ',', '-d']],
    ['Contiguous', split('Contiguous'), 'a-b--c,-d', ['a', '-', 'b', '--', 'c', ',-', 'd']],
    ['inverted', split('Isolated', true), 'a-b--c', ['a', '-', 'b', '--', 'c']],
    ['Punctuation', { type: 'Punctuation' }, 'a--b..', ['a', '-', '-', 'b', '.', '.']],
    ['Digits', { type: 'Digits', individual_digits: true }, 'a12١½', ['a', '1', '2', '١', '½']],
    ['Digits together', { type: 'Digits' }, 'a12١b', ['a', '12١', 'b']],
    ['Whitespace', { type: 'Whitespace' }, 'hé x_1!? ', ['hé', 'x_1', '!?']],
    ['WhitespaceSplit', { type: 'WhitespaceSplit' }, ' a\u3000b\n', ['a', 'b']],
    ['Bert', { type: 'BertPreTokenizer' }, "it's  ok!", ['it', "'", 's', 'ok', '!']],
    ['CharDelimiterSplit', { type: 'CharDelimiterSplit', delimiter: '|' }, 'a||b', ['a', 'b']],
    ['Metaspace', { type: 'Metaspace' }, 'a  b', ['▁a', '▁', '▁b']],
    ['FixedLength', { type: 'FixedLength', length: 2 }, 'a😀bcd', ['a😀', 'bc', 'd']],
    ['ByteLevel', { type: 'ByteLevel', add_prefix_space: true }, "é don't", ['ĠÃ©', 'Ġdon', "'t"]],
  ])('%s', (_, part, text, expected) => expect(pieces(part, text)).toEqual(expected));

  it('put a space before the first piece only, where they are told to', () => {
    const part = { type: 'Metaspace', prepend_scheme: 'first' };
    expect(preTokenizer(part)({ text: 'a', isFirst: true })[0].text).toBe('▁a');
    expect(preTokenizer(part)({ text: 'a', isFirst: false })[0].text).toBe('a');
  });
});

describe('normalizers', () => {
  it.each<[string, Json, string, string]>([
    ['Lowercase without regard to the end of a word', { type: 'Lowercase' }, 'ΑΣ İ', 'ασ i̇'],
    ['Strip', { type: 'Strip', strip_left: false }, ' a\u00a0', ' a'],
    ['Prepend', { type: 'Prepend', prepend: '▁' }, 'a', '▁a'],
    ['Prepend to nothing', { type: 'Prepend', prepend: '▁' }, '', ''],
    ['Replace', { type: 'Replace', pattern: { Regex: ' {2,}' }, content: '$&' }, 'a   b', 'a$&b'],
    ['NFKC', { type: 'NFKC' }, 'ﬁ①', 'fi1'],
    ['Bert', { type: 'BertNormalizer' }, 'Née\t中\0', 'nee  中 '],
    ['Nmt', { type: 'Nmt' }, 'a\u200bb\x01', 'a b'],
  ])('%s', (_, part, text, expected) => expect(normalizer(part)(text)).toBe(expected));
});

describe('decoders', () => {
  it.each<[string, Json, string[], string]>([
    ['WordPiece', { type: 'WordPiece' }, ['a', '##b', 'c', '.'], 'ab c.'],
    ['BPEDecoder', { type: 'BPEDecoder' }, ['a</w>', 'b</w>'], 'a b'],
    ['CTC', { type: 'CTC' }, ['a', 'a', '<pad>', 'a', '|', 'b'], 'aa b'],
    ['Metaspace', { type: 'Metaspace' }, ['▁a', '▁b'], 'a b'],
    ['Strip', { type: 'Strip', content: ' ', start: 1, stop: 1 }, ['  a ', 'b'], ' ab'],
  ])('%s', (_, part, tokens, expected) => expect(decoder(part)(tokens).join('')).toBe(expected));
});

const bytes = Array.from({ length: 256 }, (_, b) => `<0x${b.toString(16).toUpperCase().padStart(2, '0')}>`);
const tokensOf = (json: Json, text: string, config: Json = {}) => {
  const tokenizer = Tokenizer.fromJson(json, config);
  return tokenizer.encode(text).map((id) => tokenizer.idToToken(id));
};

describe('models', () => {
  it('Unigram falls back on bytes', () => {
    const vocab = [['<unk>', 0], ...bytes.map((byte) => [byte, -10]), ['▁', -3], ['a', -4], ['b', -4.5], ['▁a', -2.5]];
    const json = {
      pre_tokenizer: { type: 'Metaspace', prepend_scheme: 'always' },
      model: { type: 'Unigram', unk_id: 0, vocab, byte_fallback: true },
    };
    expect(tokensOf(json, 'a\nb')).toEqual(['▁a', '<0x0A>', 'b']);
    expect(tokensOf(json, 'a 😀b')).toEqual(['▁a', '▁', '<0xF0>', '<0x9F>', '<0x98>', '<0x80>', 'b']);
    const plain = { ...json, model: { ...json.model, byte_fallback: false } };
    expect(tokensOf(plain, 'aééb')).toEqual(['▁a', '<unk>', 'b']);
  });

  it('WordPiece takes the longest beginnings, and WordLevel whole words', () => {
    const vocab = { '[UNK]': 0, un: 1, '##aff': 2, '##able': 3, a: 4 };
    const json = {
      pre_tokenizer: { type: 'WhitespaceSplit' },
      model: { type: 'WordPiece', unk_token: '[UNK]', vocab },
    };
    expect(tokensOf(json, 'unaffable unx a')).toEqual(['un', '##aff', '##able', '[UNK]', 'a']);
    const words = { ...json, model: { type: 'WordLevel', unk_token: '[UNK]', vocab } };
    expect(tokensOf(words, 'un a x')).toEqual(['un', 'a', '[UNK]']);
  });

  it('long words are merged as short ones', () => {
    const vocab = { a: 0, b: 1, ab: 2, abab: 3, ba: 4 };
    const model = { type: 'BPE', vocab, merges: ['a b', 'ab ab', 'b a'] };
    expect(tokensOf({ model }, 'ababab')).toEqual(['abab', 'ab']);
    expect(tokensOf({ model }, 'ab'.repeat(101))).toEqual([...Array(50).fill('abab'), 'ab']);
  });
});

describe('added tokens', () => {
  const letters = byteLetters();
  const json = (token: Json): Json => ({
    added_tokens: [{ id: 256, content: '<x>', special: true, normalized: false, ...token }],
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false },
    decoder: { type: 'ByteLevel' },
    model: { type: 'BPE', vocab: Object.fromEntries(letters.map((char, id) => [char, id])), merges: [] },
  });
  it('take white space, and are whole words, where they are told to', () => {
    expect(tokensOf(json({}), 'a <x> b')).toEqual(['a', 'Ġ', '<x>', 'Ġ', 'b']);
    expect(tokensOf(json({ lstrip: true, rstrip: true }), 'a <x> b')).toEqual(['a', '<x>', 'b']);
    expect(tokensOf(json({ content: 'x', single_word: true }), 'ax x')).toEqual(['a', 'x', 'Ġ', 'x'].map((t) => t));
    expect(Tokenizer.fromJson(json({ content: 'x', single_word: true }), {}).encode('ax x')).toEqual([
      97, 120, 32, 256,
    ]);
  });

  it('stand around a text by the flags of tokenizer_config.json, for the classes that go by them', () => {
    const config = { tokenizer_class: 'LlamaTokenizerFast', bos_token: '<x>', eos_token: '<x>' };
    expect(tokensOf(json({}), 'a', { ...config, add_bos_token: true, add_eos_token: false })).toEqual(['<x>', 'a']);
    expect(tokensOf(json({}), 'a', { ...config, add_bos_token: true, add_eos_token: true })).toEqual([
      '<x>',
      'a',
      '<x>',
    ]);
    expect(tokensOf(json({}), 'a', { ...config, add_bos_token: false })).toEqual(['a']);
    expect(tokensOf(json({}), 'a', config)).toEqual(['a']);
    expect(tokensOf(json({}), 'a', { ...config, tokenizer_class: 'Other', add_bos_token: true })).toEqual(['a']);
  });
});

it('patterns that would run for ever end', () => {
  const model = { type: 'BPE', unk_token: 'a', vocab: { a: 0 }, merges: [] };
  const split = { type: 'Split', pattern: { Regex: '(a+)+$' }, behavior: 'Isolated' };
  expect(tokensOf({ pre_tokenizer: split, model }, `${'a'.repeat(40)}!`)).toHaveLength(41);
  const replace = { type: 'Replace', pattern: { Regex: '(\\s|\\s\\s)*x' }, content: '' };
  expect(tokensOf({ normalizer: replace, model }, ' '.repeat(60))).toHaveLength(60);
  expect(() => Tokenizer.fromJson({ normalizer: { ...replace, pattern: { Regex: '(a)\\1' } }, model }, {})).toThrow(
    TokenizerError,
  );
});
