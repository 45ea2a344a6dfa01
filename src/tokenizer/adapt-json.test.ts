import { describe, expect, it } from 'vitest';
import { byteLevelJson, unigramJson } from '../../test/support/tokenizers.ts';
import { adaptTokenizerJson } from './adapt-json.ts';
import { Tokenizer } from './tokenizer.ts';

const tokensOf = (tokenizer: Tokenizer, text: string) => tokenizer.encode(text).map((id) => tokenizer.idToToken(id));

describe('adaptTokenizerJson', () => {
  it('leaves its argument, and what the library understands, as they are', () => {
    const json = unigramJson({ split: false });
    const before = structuredClone(json);
    expect(adaptTokenizerJson(json)).toEqual(before);
    expect(json).toEqual(before);
  });

  it('names parts that are left out', () => {
    const parts = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
    expect(adaptTokenizerJson({ model: {} })).toEqual({ model: {}, ...parts });
  });

  it('splits before each mark unless told not to', () => {
    expect(tokensOf(Tokenizer.fromJson(unigramJson(), {}), 'a b')).not.toContain('▁a▁b');
    expect(tokensOf(Tokenizer.fromJson(unigramJson({ split: false }), {}), 'a b')).toContain('▁a▁b');
  });

  it.each(['-', '^', ']', '\\', '_'])('takes %s for a mark as it is', (replacement) => {
    const json = unigramJson({ replacement, str_rep: replacement }, { replacement });
    (json['model'] as { vocab: [string, number][] }).vocab.push([replacement, -2], [`${replacement}a`, -2]);
    const mark = `${replacement}a`;
    expect(tokensOf(Tokenizer.fromJson(json, {}), 'a aab')).toEqual([mark, mark, 'a', 'b']);
  });

  it('reads the old form of no space before the text', () => {
    const old = { add_prefix_space: false, prepend_scheme: undefined };
    const tokenizer = Tokenizer.fromJson(unigramJson(old, old), {});
    expect(tokensOf(tokenizer, 'head')).toEqual(['head']);
    expect(tokenizer.decode(tokenizer.encode(' a'))).toBe(' a');
  });

  it("splits byte-level text by Unicode's spaces, within sequences too", () => {
    const json = byteLevelJson();
    const { model } = json as { model: { vocab: Record<string, number>; merges: string[][] } };
    // U+FEFF and an apostrophe are one word, for U+FEFF is no space.
    model.vocab["ï»¿'"] = 401;
    model.merges.push(['ï»¿', "'"]);
    json['pre_tokenizer'] = { type: 'Sequence', pretokenizers: [json['pre_tokenizer']] };
    expect(tokensOf(Tokenizer.fromJson(json, {}), "\ufeff'").at(-1)).toBe("ï»¿'");
  });
});
