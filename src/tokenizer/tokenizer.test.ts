import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  byteFallbackJson,
  byteLevelJson,
  tinyTokenizer,
  tokenizerKinds,
  unigramJson,
} from '../../test/support/tokenizers.ts';
import { InputError, TokenizerError } from '../util/errors.ts';
import { Tokenizer } from './tokenizer.ts';

interface Golden {
  /** A text, its ids, its ids without special tokens. */
  readonly encoded: readonly [string, number[], number[]][];
  /** Ids, their text, their text with special tokens. */
  readonly decoded: readonly [number[], string, string][];
}

const golden: Record<string, Golden> = JSON.parse(
  readFileSync(new URL('../../test/fixtures/tokenizers/golden.json', import.meta.url), 'utf8'),
);
const tiny = tinyTokenizer();
const byteLevel = Tokenizer.fromJson(byteLevelJson(), {});
const byteFallback = Tokenizer.fromJson(byteFallbackJson(), {});

describe.each(Object.entries(tokenizerKinds()))('a tokenizer of the kind %s', (kind, json) => {
  const tokenizer = Tokenizer.fromJson(json, {});

  it("encodes as Hugging Face's", () => {
    expect(golden[kind].encoded.length).toBeGreaterThan(50);
    for (const [text, ids, bare] of golden[kind].encoded) {
      expect([text, tokenizer.encode(text)]).toEqual([text, ids]);
      expect([text, tokenizer.encode(text, { addSpecialTokens: false })]).toEqual([text, bare]);
    }
  });

  it("decodes as Hugging Face's", () => {
    for (const [ids, text, whole] of golden[kind].decoded) {
      expect([ids, tokenizer.decode(ids)]).toEqual([ids, text]);
      expect([ids, tokenizer.decode(ids, { skipSpecialTokens: false })]).toEqual([ids, whole]);
    }
  });
});

describe('round trips', () => {
  const text = fc.string({ unit: 'grapheme', maxLength: 30 });

  it('give the text back where every byte has a token', () => {
    fc.assert(
      fc.property(text, (original) => {
        const back = (tokenizer: Tokenizer) =>
          tokenizer.decode(tokenizer.encode(original, { addSpecialTokens: false }));
        expect(back(tiny)).toBe(original);
        expect(back(byteLevel)).toBe(original);
        // SentencePiece writes a space as this very character, so the two can't be told apart.
        expect(back(byteFallback)).toBe(original.replaceAll('▁', ' '));
      }),
      { examples: [['▁'], ['a▁ b']] },
    );
  });

  it('keep spaces before punctuation and U+FEFF at the beginning', () => {
    for (const original of [" ' , . ?  n't", '\ufeffone', ' two', '\n'])
      for (const tokenizer of [tiny, byteLevel, byteFallback])
        expect(tokenizer.decode(tokenizer.encode(original))).toBe(original);
  });

  it('give long words and long runs back', () => {
    for (const original of ['a'.repeat(100_000), ' '.repeat(100_000), '😀'.repeat(30_000), '. '.repeat(50_000)])
      expect(tiny.decode(tiny.encode(original))).toBe(original);
  });
});

describe('encode', () => {
  it.each([
    ['byte level', tiny],
    ['byte fallback', byteFallback],
    ['metaspace', Tokenizer.fromJson(unigramJson(), {})],
  ])('takes a megabyte, by %s', (_, tokenizer) => {
    const sentence = 'the head of a sea, son. ';
    const ids = tokenizer.encode(sentence.repeat(42_000), { addSpecialTokens: false });
    expect(ids.length).toBeGreaterThan(200_000);
    expect(ids.slice(0, 12)).toEqual(tokenizer.encode(sentence.repeat(3), { addSpecialTokens: false }).slice(0, 12));
  });

  it('takes half a surrogate pair for U+FFFD', () => {
    for (const tokenizer of [tiny, byteLevel, byteFallback]) {
      const ids = tokenizer.encode('a\ud83d b\ude00 😀');
      expect(ids).toEqual(tokenizer.encode('a\ufffd b\ufffd 😀'));
      expect(tokenizer.decode(ids)).toBe('a\ufffd b\ufffd 😀');
    }
  });

  it('of nothing is what stands before every text', () => {
    expect(tiny.encode('')).toEqual([tiny.bosTokenId]);
    expect(tiny.encode('', { addSpecialTokens: false })).toEqual([]);
  });

  it('finds special tokens in the text', () => {
    expect(tiny.encode('<s>a</s>', { addSpecialTokens: false })).toEqual([0, tiny.tokenToId('a'), 1]);
  });

  it('says so where there is no token for a character', () => {
    const json = unigramJson();
    (json['model'] as Record<string, unknown>)['unk_id'] = null;
    const tokenizer = Tokenizer.fromJson(json, {});
    expect(() => tokenizer.encode('abcx')).toThrow(TokenizerError);
    expect(() => tokenizer.encode('abcx')).toThrow(/no token for "x"/);
  });

  it('takes a long text that is one word', () => {
    const whole = Tokenizer.fromJson(unigramJson({ split: false }), {});
    expect(whole.encode('a'.repeat(400_000)).length).toBeGreaterThan(300_000);
  });

  it('refuses what is no text', () => {
    expect(() => tiny.encode(5 as unknown as string)).toThrow(InputError);
    expect(() => tiny.encode(undefined as never)).toThrow('the text to encode must be a string, but is undefined');
    expect(() => tiny.decode(5 as never)).toThrow('the token ids to decode must be an array, but are 5');
    expect(() => tiny.decode(['5'] as never)).toThrow('token id "5" (index 0)');
  });
});

describe('decode', () => {
  it('leaves special tokens out unless they are wanted', () => {
    const ids = [0, ...tiny.encode('Hello', { addSpecialTokens: false }), 1];
    expect(tiny.decode(ids)).toBe('Hello');
    expect(tiny.decode(ids, { skipSpecialTokens: false })).toBe('<s>Hello</s>');
    expect(tiny.decode([0, 1])).toBe('');
    expect(tiny.decode([])).toBe('');
    expect(tiny.decode(Int32Array.from(ids))).toBe('Hello');
  });

  it.each([-1, 4096, 1.5, Number.NaN])('refuses the id %s', (id) => {
    expect(() => tiny.decode([5, id])).toThrow(InputError);
    expect(() => tiny.decode([5, id])).toThrow(`token id ${id} (index 1) is not one of the tokenizer's, 0 to 4095`);
  });

  it('gives no text for ids between tokens that belong to none', () => {
    const json = byteLevelJson();
    (json['added_tokens'] as Record<string, unknown>[])[0]['id'] = 500;
    const tokenizer = Tokenizer.fromJson(json, {});
    expect(tokenizer.vocabSize).toBe(501);
    expect(tokenizer.idToToken(400)).toBeUndefined();
    expect(tokenizer.decode([97, 400, 98])).toBe('ab');
  });
});

describe('the vocabulary', () => {
  it('is that of the file', () => {
    expect([tiny.vocabSize, tiny.bosTokenId, tiny.eosTokenId]).toEqual([4096, 0, 1]);
    expect([...tiny.specialTokenIds]).toEqual([0, 1]);
    expect(tiny.idToToken(tiny.tokenToId('Ġthe')!)).toBe('Ġthe');
    expect(tiny.tokenToId('no such token')).toBeUndefined();
    expect(tiny.idToToken(4096)).toBeUndefined();
    expect(tiny.config['model_max_length']).toBe(4096);
  });

  it('takes the marks of tokenizer_config.json, as text or as objects', () => {
    const config = {
      bos_token: { __type: 'AddedToken', content: '<|begin|>' },
      eos_token: '<|end|>',
      additional_special_tokens: ['<think> ünd', { content: 'the' }],
    };
    const tokenizer = Tokenizer.fromJson(byteLevelJson(), config);
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual([270, 268]);
    expect([...tokenizer.specialTokenIds]).toEqual([257, 268, 269, 270]);
    expect(tokenizer.decode([97, 257, 98, 269])).toBe('ab');
  });

  it('has no mark where none is named, or one that there is not', () => {
    const tokenizer = Tokenizer.fromJson(byteLevelJson(), { bos_token: null, eos_token: '<gone>' });
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId]).toEqual([null, null]);
  });
});
