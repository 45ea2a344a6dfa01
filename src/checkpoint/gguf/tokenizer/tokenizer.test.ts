import { describe, expect, it } from 'vitest';
import { ggufFile, type TestValue } from '../../../../test/support/gguf-bytes.ts';
import { NASTY_TEXTS } from '../../../../test/support/nasty-texts.ts';
import { bytesSource } from '../../../../test/support/safetensors-bytes.ts';
import {
  byteFallbackJson,
  byteLevelJson,
  type Json,
  tinyJson,
  unigramJson,
  wordPieceJson,
} from '../../../../test/support/tokenizers.ts';
import { Tokenizer } from '../../../tokenizer/tokenizer.ts';
import { TokenizerError } from '../../../util/errors.ts';
import { readGgufHeader } from '../header.ts';
import { Metadata } from '../metadata.ts';
import { vocabularyEntries } from '../write/vocabulary-entries.ts';
import { readVocabulary } from './read-vocabulary.ts';
import { ggufTokenizerConfig, ggufTokenizerJson } from './tokenizer-json.ts';

interface Model {
  readonly vocab: Record<string, number> | [string, number][];
  readonly merges?: ([string, string] | string)[];
}
interface Added {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** The metadata that llama.cpp's converter makes of a tokenizer.json. */
function metadataOf(json: Json, model: string, own: Record<string, TestValue>): Record<string, TestValue> {
  const { vocab, merges } = json['model'] as Model;
  const entries: [string, number][] = Array.isArray(vocab)
    ? vocab.map(([token], id) => [token, id])
    : Object.entries(vocab);
  const tokens: string[] = [];
  const types: number[] = [];
  for (const [token, id] of entries) {
    tokens[id] = model === 'bert' ? (token.startsWith('##') ? token.slice(2) : `▁${token}`) : token;
    types[id] = /^<0x..>$/.test(token) ? 6 : 1;
  }
  for (const { id, content, special } of json['added_tokens'] as Added[]) {
    tokens[id] = content;
    types[id] = special ? 3 : 4;
  }
  const pairs = (merges ?? []).map((merge) => (typeof merge === 'string' ? merge.split(' ') : merge));
  const rank = new Map(pairs.map(([left, right], i) => [left + right, i]));
  const scores = tokens.map((token, id) =>
    Array.isArray(vocab) ? (vocab[id]?.[1] ?? 0) : -(rank.get(token) ?? 1e6) - 0.5,
  );
  return {
    'general.architecture': 'llama',
    'tokenizer.ggml.model': model,
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': types,
    'tokenizer.ggml.scores': scores,
    ...(model === 'gpt2' ? { 'tokenizer.ggml.merges': pairs.map((pair) => pair.join(' ')) } : {}),
    ...own,
  };
}

async function vocabularyOf(metadata: Record<string, TestValue>) {
  const header = await readGgufHeader(bytesSource(ggufFile(metadata), 'test.gguf'));
  return readVocabulary(new Metadata(header.metadata, 'test.gguf'), 'llama')!;
}

const CASES: readonly (readonly [name: string, json: Json, model: string, own: Record<string, TestValue>])[] = [
  [
    'byte-level with digits alone',
    tinyJson('tokenizer.json'),
    'gpt2',
    { 'tokenizer.ggml.pre': 'smollm', 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.bos_token_id': 0 },
  ],
  [
    'byte-level',
    byteLevelJson(),
    'gpt2',
    { 'tokenizer.ggml.pre': 'gpt-2', 'tokenizer.ggml.add_bos_token': true, 'tokenizer.ggml.bos_token_id': 270 },
  ],
  [
    'SentencePiece',
    byteFallbackJson(),
    'llama',
    { 'tokenizer.ggml.add_bos_token': false, 'tokenizer.ggml.unknown_token_id': 0 },
  ],
  [
    'SentencePiece without a space before the text',
    byteFallbackJson(false),
    'llama',
    {
      'tokenizer.ggml.add_bos_token': false,
      'tokenizer.ggml.unknown_token_id': 0,
      'tokenizer.ggml.add_space_prefix': false,
    },
  ],
  [
    'Unigram',
    unigramJson(),
    't5',
    {
      'tokenizer.ggml.add_eos_token': false,
      'tokenizer.ggml.unknown_token_id': 0,
      'tokenizer.ggml.remove_extra_whitespaces': false,
    },
  ],
  ['WordPiece', wordPieceJson(), 'bert', { 'tokenizer.ggml.unknown_token_id': 0 }],
];

describe('a tokenizer made of GGUF metadata', () => {
  it.each(CASES)('%s gives the tokens of the original', async (_, json, model, own) => {
    const metadata = metadataOf(json, model, own);
    if (model === 'gpt2') {
      // What the post-processor puts before a text is named by its id.
      const post = json['post_processor'] as { special_tokens: Record<string, { ids: number[] }> };
      metadata['tokenizer.ggml.bos_token_id'] = Object.values(post.special_tokens)[0].ids[0];
    }
    const vocabulary = await vocabularyOf(metadata);
    const original = Tokenizer.fromJson(json, {});
    const made = Tokenizer.fromJson(ggufTokenizerJson(vocabulary), ggufTokenizerConfig(vocabulary));
    expect(NASTY_TEXTS.length).toBeGreaterThan(70);
    for (const text of [...NASTY_TEXTS, 'the sea sons, the the', 'head be a bad abc']) {
      const ids = original.encode(text);
      expect(made.encode(text), JSON.stringify(text)).toEqual(ids);
      expect(made.decode(ids)).toBe(original.decode(ids));
    }
    expect(made.specialTokenIds).toEqual(original.specialTokenIds);
    // As a file of JSON, and in another GGUF file, it has the same vocabulary.
    const written = ggufTokenizerJson(vocabulary);
    const read = JSON.parse(JSON.stringify(written)) as Json;
    expect(Object.keys((read['model'] as Model).vocab).length).toBeGreaterThan(5);
    expect(Tokenizer.fromJson(read, {}).encode('the sea')).toEqual(made.encode('the sea'));
    if (model !== 'gpt2' && model !== 'llama') return;
    const entries = (of: Json) => vocabularyEntries(of, {}, vocabulary.tokens.length);
    expect(entries(written)).toEqual(entries(read));
  });

  it('has chat templates and special tokens in tokenizer_config.json', async () => {
    const metadata = metadataOf(byteFallbackJson(), 'llama', {
      'tokenizer.ggml.bos_token_id': 1,
      'tokenizer.ggml.eos_token_id': 2,
      'tokenizer.ggml.unknown_token_id': 99_999,
      'tokenizer.chat_template': 'A',
      'tokenizer.chat_templates': ['tool_use'],
      'tokenizer.chat_template.tool_use': 'B',
    });
    expect(ggufTokenizerConfig(await vocabularyOf(metadata))).toEqual({
      clean_up_tokenization_spaces: false,
      bos_token: '<s>',
      eos_token: '</s>',
      // What llama.cpp takes in place of an id that is none.
      unk_token: '<unk>',
      chat_template: [
        { name: 'default', template: 'A' },
        { name: 'tool_use', template: 'B' },
      ],
    });
  });

  it('has the first chat template of a list, and flags of 0 and 1', async () => {
    const metadata = metadataOf(byteFallbackJson(), 'llama', {
      'tokenizer.chat_template': ['A', 'B'],
      'tokenizer.ggml.add_bos_token': 0,
      'tokenizer.ggml.add_eos_token': 1,
    });
    const vocabulary = await vocabularyOf(metadata);
    expect(ggufTokenizerConfig(vocabulary)['chat_template']).toBe('A');
    expect([vocabulary.addBos, vocabulary.addEos]).toEqual([false, true]);
  });

  it('may have more scores than tokens', async () => {
    const metadata = metadataOf(byteFallbackJson(), 'llama', {});
    metadata['tokenizer.ggml.scores'] = [...(metadata['tokenizer.ggml.scores'] as number[]), 1, 2];
    const { scores, tokens } = await vocabularyOf(metadata);
    expect(scores).toHaveLength(tokens.length);
  });

  it('merges within lines where spaces are ▁ and merges are in the file', async () => {
    const json = byteFallbackJson(false);
    const { vocab, merges = [] } = json['model'] as Model;
    const metadata = metadataOf(json, 'gpt2', {
      'tokenizer.ggml.pre': 'granite-embed-multi-311m',
      'tokenizer.ggml.add_bos_token': false,
      'tokenizer.ggml.merges': merges.map((merge) => (typeof merge === 'string' ? merge : merge.join(' '))),
      'tokenizer.ggml.token_type': Object.keys(vocab).map((token) => (/^<0x..>$/.test(token) ? 6 : 1)),
    });
    const { tokens } = await vocabularyOf(metadata);
    metadata['tokenizer.ggml.token_type'] = tokens.map((token) =>
      /^<0x..>$/.test(token) ? 6 : /^</.test(token) ? 3 : 1,
    );
    const made = Tokenizer.fromJson(ggufTokenizerJson(await vocabularyOf(metadata)), {});
    const original = Tokenizer.fromJson(json, {});
    for (const text of NASTY_TEXTS.filter((each) => !each.includes('\n')))
      expect(made.encode(text), JSON.stringify(text)).toEqual(original.encode(text, { addSpecialTokens: false }));
  });

  it('is refused where it is of an unknown kind', async () => {
    const made = async (own: Record<string, TestValue>, model = 'gpt2') =>
      ggufTokenizerJson(await vocabularyOf(metadataOf(byteLevelJson(), model, own)));
    await expect(made({}, 'rwkv')).rejects.toThrow(/tokenizer.ggml.model is "rwkv"/);
    await expect(made({ 'tokenizer.ggml.pre': 'of-tomorrow' })).rejects.toThrow(/"of-tomorrow", which is not known/);
    await expect(made({ 'tokenizer.ggml.merges': ['ab'] })).rejects.toThrow(TokenizerError);
    await expect(made({ 'tokenizer.ggml.scores': [1] })).rejects.toThrow(/1 entries for/);
  });
});
