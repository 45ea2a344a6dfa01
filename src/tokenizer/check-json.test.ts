import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  byteFallbackJson,
  byteLevelJson,
  type Json,
  unigramJson,
  wordPieceJson,
} from '../../test/support/tokenizers.ts';
import { InputError, TokenizerError } from '../util/errors.ts';
import { Tokenizer } from './tokenizer.ts';

/** The byte-level tokenizer with one part put in the place of another. */
function changed(path: string, value: unknown, json: Json = byteLevelJson()): Json {
  const keys = path.split('.');
  let at: Json = json;
  for (const key of keys.slice(0, -1)) at = at[key] as Json;
  if (value === undefined) delete at[keys.at(-1)!];
  else at[keys.at(-1)!] = value;
  return json;
}

function messageOf(json: unknown, config: unknown = {}): string {
  try {
    Tokenizer.fromJson(json as Json, config as Json);
  } catch (error) {
    expect(error).toBeInstanceOf(TokenizerError);
    return (error as Error).message;
  }
  return 'fine';
}

describe('a damaged tokenizer.json', () => {
  it.each<[string, unknown, string]>([
    ['model', undefined, 'tokenizer.json: "model" must be an object, but is missing'],
    ['model', [], 'tokenizer.json: "model" must be an object, but is []'],
    ['pre_tokenizer.type', { toString: false }, 'there is no pre-tokenizer {"toString":false}'],
    ['model.type', 'Magic', 'model.type must be one of BPE, Unigram, WordPiece, WordLevel, but is "Magic"'],
    ['model.vocab', undefined, 'tokenizer.json: model.vocab must be an object, but is missing'],
    ['model.vocab', {}, 'tokenizer.json: model.vocab is empty'],
    ['model.vocab.a', -1, 'model.vocab gives "a" the id -1, which is not a whole number from 0 on'],
    ['model.vocab.a', '97', 'model.vocab gives "a" the id "97"'],
    ['model.vocab.a', 2 ** 40, 'model.vocab gives "a" the id 1099511627776'],
    ['model.vocab.a', 98, 'model.vocab gives "a" and "b" the same id 98'],
    ['model.vocab', [['a', 0], ['b']], 'model.vocab[1] must be a token and its score, but is ["b"]'],
    ['model.merges', undefined, 'model.merges must be a list, but is missing'],
    ['model.merges.0', ['t'], 'model.merges[0] must be two tokens (written as the first merge is), but is ["t"]'],
    ['model.merges.1', 'th e', 'model.merges[1] must be two tokens (written as the first merge is), but is "th e"'],
    ['model.merges.1', ['th', 'x'], 'model.merges[1] needs the token "thx", which is not in model.vocab'],
    ['model.merges.1', 5, 'model.merges[1] must be two tokens'],
    ['added_tokens', {}, 'added_tokens must be a list, but is {}'],
    ['added_tokens.0', null, 'added_tokens[0] must be an object, but is null'],
    ['added_tokens.0.id', 1.5, 'added_tokens[0] has the id 1.5'],
    ['added_tokens.0.id', 270, 'added_tokens gives "<|end|>" and "<|begin|>" the same id 270'],
    ['added_tokens.0.content', '', 'added_tokens[0].content must be text, but is ""'],
    ['added_tokens.0.content', undefined, 'added_tokens[0].content must be text, but is missing'],
    ['normalizer', { type: 'Nonsense' }, 'tokenizer.json: there is no normalizer "Nonsense"'],
    ['pre_tokenizer', { type: 'Nonsense' }, 'tokenizer.json: there is no pre-tokenizer "Nonsense"'],
    ['post_processor', { type: 'Nonsense' }, 'tokenizer.json: there is no post-processor "Nonsense"'],
    ['decoder', { type: 'Nonsense' }, 'tokenizer.json: there is no decoder "Nonsense"'],
    ['decoder', 'ByteLevel', 'tokenizer.json: a decoder must be an object, but is "ByteLevel"'],
    [
      'post_processor',
      { type: 'TemplateProcessing' },
      '"single" of a TemplateProcessing must be a list, but is missing',
    ],
    [
      'post_processor.single.0.SpecialToken.id',
      '<gone>',
      'tokenizer.json: there is no token "<gone>", which "single" of a TemplateProcessing names',
    ],
    ['pre_tokenizer', { type: 'FixedLength', length: 0 }, 'needs a whole "length" of at least 1, but has 0'],
    [
      'pre_tokenizer',
      { type: 'Split', behavior: 'Isolated' },
      'the "pattern" of a Split must be an object, but is missing',
    ],
    [
      'normalizer',
      { type: 'Replace', pattern: { Regexp: 'x' } },
      'must have a "String" or a "Regex", but is {"Regexp":"x"}',
    ],
    [
      'pre_tokenizer',
      { type: 'Split', behavior: 'Isolated', pattern: { Regex: '(' } },
      'tokenizer.json: the pattern has a group that is not closed',
    ],
  ])('with %s = %j is refused', (path, value, message) => {
    const warn = vi.spyOn(console, 'warn');
    expect(messageOf(changed(path, value))).toContain(message);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });

  it('is refused wherever a sequence hides the damage', () => {
    let part: Json = { type: 'FixedLength', length: -1 };
    for (let i = 0; i < 50; i++) part = { type: 'Sequence', pretokenizers: [part] };
    expect(messageOf(changed('pre_tokenizer', part))).toContain('FixedLength');
    for (let i = 0; i < 100_000; i++) part = { type: 'Sequence', pretokenizers: [part] };
    expect(messageOf(changed('pre_tokenizer', part))).toContain('tokenizer.json is nested too deep');
  });

  it('is refused for an unknown token that there is not', () => {
    expect(messageOf(changed('model.unk_id', 99, unigramJson()))).toContain(
      'model.unk_id must be one of the 17 tokens',
    );
  });

  it('is refused with a short message however long the damage is', () => {
    expect(messageOf(changed('added_tokens', 'x'.repeat(1e6))).length).toBeLessThan(200);
  });

  it('never ends in another error, whatever is put wherever', () => {
    const kinds = [byteLevelJson, byteFallbackJson, unigramJson, wordPieceJson];
    const paths = [
      'model',
      'model.type',
      'model.vocab',
      'model.merges',
      'model.unk_token',
      'model.byte_fallback',
    ].concat([
      'added_tokens',
      'normalizer',
      'pre_tokenizer',
      'pre_tokenizer.type',
      'post_processor',
      'decoder',
      'decoder.type',
    ]);
    const warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
    fc.assert(
      fc.property(fc.constantFrom(...kinds), fc.constantFrom(...paths), fc.jsonValue(), (make, path, value) => {
        const json = make();
        fc.pre(!path.includes('.') || json[path.split('.')[0]] !== null);
        expect(messageOf(changed(path, value, json))).toMatch(/^(fine|tokenizer\.json)/);
      }),
      { numRuns: 300 },
    );
    warn.mockRestore();
  });
});

describe('other forms', () => {
  it('takes merges as text, and parts that are left out', () => {
    const json = byteLevelJson();
    const { merges } = json['model'] as { merges: string[][] };
    changed(
      'model.merges',
      merges.map((pair) => pair.join(' ')),
      json,
    );
    for (const part of ['normalizer', 'post_processor', 'added_tokens']) delete json[part];
    const tokenizer = Tokenizer.fromJson(json, {});
    expect(tokenizer.encode('the a')).toEqual([257, 258]);
    expect(tokenizer.vocabSize).toBe(268);
  });

  it('takes names that objects have of themselves', () => {
    const json = byteLevelJson();
    const { vocab } = json['model'] as { vocab: Record<string, number> };
    for (const name of ['constructor', 'toString']) vocab[name] = 300 + Object.keys(vocab).length;
    Object.defineProperty(vocab, '__proto__', { value: 299, enumerable: true });
    const tokenizer = Tokenizer.fromJson(json, {});
    expect(tokenizer.tokenToId('__proto__')).toBe(299);
    expect(tokenizer.tokenToId('hasOwnProperty')).toBeUndefined();
  });
});

describe('a damaged tokenizer_config.json', () => {
  it.each<[unknown, string]>([
    [{ bos_token: 5 }, 'tokenizer_config.json: bos_token must be a string, or an object with "content", but is 5'],
    [{ eos_token: { text: 'x' } }, 'tokenizer_config.json: eos_token must be a string'],
    [{ additional_special_tokens: 'x' }, 'additional_special_tokens must be a list, but is "x"'],
    [{ additional_special_tokens: ['x', 5] }, 'additional_special_tokens[1] must be a string'],
  ])('%j is refused', (config, message) => {
    expect(messageOf(byteLevelJson(), config)).toContain(message);
  });

  it('and what is no object at all', () => {
    const told = (file: string, value: string) =>
      `Tokenizer.fromJson needs the parsed content of ${file}, but got ${value}`;
    for (const [json, shown] of [
      [undefined, 'undefined'],
      [null, 'null'],
      [[], 'an array'],
      ['x', '"x"'],
    ] as const) {
      expect(() => Tokenizer.fromJson(json as never, {})).toThrow(new InputError(told('tokenizer.json', shown)));
      expect(() => Tokenizer.fromJson({}, json as never)).toThrow(new InputError(told('tokenizer_config.json', shown)));
    }
  });
});
