/**
 * @file Small tokenizers of each kind, in the form of tokenizer.json, and the one that ships with the project.
 */
import { readFileSync } from 'node:fs';
import { Tokenizer } from '../../src/tokenizer/tokenizer.ts';

export type Json = Record<string, unknown>;

/** A file of models/tiny, parsed. */
export function tinyJson(file: 'tokenizer.json' | 'tokenizer_config.json'): Json {
  return JSON.parse(readFileSync(new URL(`../../models/tiny/${file}`, import.meta.url), 'utf8'));
}

export function tinyTokenizer(): Tokenizer {
  return Tokenizer.fromJson(tinyJson('tokenizer.json'), tinyJson('tokenizer_config.json'));
}

/** The characters that byte-level vocabularies write bytes with (GPT-2's table): printable ones are themselves. */
export function byteLetters(): string[] {
  const printable = (byte: number) =>
    (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => String.fromCharCode(printable(byte) ? byte : next++));
}

const added = (id: number, content: string, special: boolean) => ({
  id,
  content,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});

const vocabOf = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]));

/** Splits merges' results off their last letter: enough for vocabularies in which every prefix is a token. */
const mergesOf = (words: readonly string[]) =>
  words.map((word) => [[...word].slice(0, -1).join(''), [...word].at(-1)!]);

/**
 * Byte-level BPE as GPT-2, Llama 3 and Qwen have it: ids 0 to 255 are the bytes, some tokens hold parts of characters.
 */
export function byteLevelJson(): Json {
  const letters = byteLetters();
  const bytes = (...values: number[]) => values.map((value) => letters[value]).join('');
  const words = [
    bytes(0x74, 0x68),
    bytes(0x74, 0x68, 0x65),
    bytes(0x20, 0x61),
    bytes(0xe4, 0xb8),
    bytes(0xe4, 0xb8, 0xad),
    bytes(0xad, 0xe4),
    bytes(0xf0, 0x9f),
    bytes(0xf0, 0x9f, 0x98),
    bytes(0xef, 0xbb),
    bytes(0xef, 0xbb, 0xbf),
    bytes(0xef, 0xbf),
    bytes(0xef, 0xbf, 0xbd),
  ];
  const tokens = [...letters, ...words];
  return {
    version: '1.0',
    added_tokens: [
      added(tokens.length, '<|end|>', true),
      added(tokens.length + 1, '<think> ünd', false),
      added(tokens.length + 2, '<|begin|>', true),
    ],
    normalizer: null,
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<|begin|>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      special_tokens: {
        '<|begin|>': { id: '<|begin|>', ids: [tokens.length + 2], tokens: ['<|begin|>'] },
      },
    },
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: { type: 'BPE', unk_token: null, fuse_unk: false, vocab: vocabOf(tokens), merges: mergesOf(words) },
  };
}

/** BPE over `▁` with the 256 bytes to fall back on, as Llama 2, Mistral and (without the strip) Gemma have it. */
export function byteFallbackJson(strip = true): Json {
  const hex = (byte: number) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;
  const specials = ['<unk>', '<s>', '</s>'];
  const letters = [...'▁abcdefghijklmnopqrstuvwxyzé.,!'];
  const words = ['▁t', '▁th', '▁the', '▁a', '▁▁', '▁▁▁'];
  const tokens = [...specials, ...Array.from({ length: 256 }, (_, byte) => hex(byte)), ...letters, ...words];
  return {
    version: '1.0',
    added_tokens: specials.map((content, id) => added(id, content, true)),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        ...(strip ? [{ type: 'Prepend', prepend: '▁' }] : []),
        { type: 'Replace', pattern: { String: ' ' }, content: '▁' },
      ],
    },
    pre_tokenizer: null,
    post_processor: null,
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: '▁' }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        ...(strip ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
      ],
    },
    model: {
      type: 'BPE',
      unk_token: '<unk>',
      fuse_unk: true,
      byte_fallback: true,
      vocab: vocabOf(tokens),
      merges: words.map((word) => (word.startsWith('▁▁') ? [word.slice(1), '▁'] : [word.slice(0, -1), word.at(-1)!])),
    },
  };
}

/** Unigram with metaspace, as T5 and XLM-R have it; the arguments change its pre-tokenizer and its decoder. */
export function unigramJson(preTokenizer: Json = {}, decoder: Json = {}): Json {
  const tokens = ['<unk>', '</s>', '▁', '', ...'abcdefgh', '▁a', '▁be', 'head', '▁a▁b', '\u00e9'];
  return {
    version: '1.0',
    added_tokens: [added(0, '<unk>', true), added(1, '</s>', true)],
    normalizer: null,
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', ...preTokenizer },
    post_processor: null,
    decoder: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', ...decoder },
    model: { type: 'Unigram', unk_id: 0, vocab: tokens.map((token) => [token, -token.length - 1]) },
  };
}

/** Word pieces, as BERT has them. */
export function wordPieceJson(): Json {
  const tokens = ['[UNK]', 'the', 'sea', '##s', '##on', '.', ',', "'", 's'];
  return {
    version: '1.0',
    added_tokens: [added(0, '[UNK]', true)],
    normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: null,
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: vocabOf(tokens),
    },
  };
}

/** One tokenizer.json of each kind. */
export function tokenizerKinds(): Record<string, Json> {
  return {
    tiny: tinyJson('tokenizer.json'),
    byteLevel: byteLevelJson(),
    byteFallback: byteFallbackJson(),
    byteFallbackBare: byteFallbackJson(false),
    metaspace: unigramJson(),
    metaspaceNever: unigramJson({ prepend_scheme: 'never' }, { prepend_scheme: 'never' }),
    metaspaceFirst: unigramJson({ prepend_scheme: 'first' }, { prepend_scheme: 'first' }),
    metaspaceWhole: unigramJson({ split: false }),
    wordPiece: wordPieceJson(),
  };
}
