/**
 * @file WordPiece (`bert`): the longest tokens from the left. The file marks tokens that begin a word with ▁; Hugging
 * Face marks the others with ##.
 */
import { addedTokens, template, typeOf } from './parts.ts';
import { type GgufVocabulary, type Json, TOKEN_TYPE } from './types.ts';

export function wordPieceJson(vocabulary: GgufVocabulary): Json {
  const { tokens, ids } = vocabulary;
  const vocab: Record<string, number> = Object.create(null);
  tokens.forEach((token, id) => {
    vocab[typeOf(vocabulary, id) === TOKEN_TYPE.normal ? asHuggingFace(token) : token] = id;
  });
  // Files do not state it: a vocabulary without capital letters is one of lower-case text.
  const lowercase = !tokens.some((token, id) => typeOf(vocabulary, id) === TOKEN_TYPE.normal && /\p{Lu}/u.test(token));
  const cls = 'cls' in ids ? ['cls'] : ['bos'];
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: template(vocabulary, cls, ['seperator']),
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: tokens[ids['unknown'] ?? 100] ?? '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab,
    },
  };
}

const asHuggingFace = (token: string): string => (token.startsWith('▁') ? token.slice(1) : `##${token}`);
