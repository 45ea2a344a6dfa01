/**
 * @file SentencePiece's Unigram (`t5`): the tokens whose scores add up highest.
 */
import { addedTokens, sequence, template } from './parts.ts';
import type { GgufVocabulary, Json } from './types.ts';

export function unigramJson(vocabulary: GgufVocabulary): Json {
  const { tokens, scores, charsmap, ids } = vocabulary;
  const squeeze = vocabulary.removeExtraWhitespaces ?? true;
  const prefix = vocabulary.addSpacePrefix ?? true;
  const normalizers: Json[] = [
    ...(charsmap ? [{ type: 'Precompiled', precompiled_charsmap: base64(charsmap) }] : []),
    ...(squeeze
      ? [
          { type: 'Strip', strip_left: true, strip_right: true },
          { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
        ]
      : []),
  ];
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: prefix ? 'always' : 'never', split: true };
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    normalizer: normalizers.length > 0 ? sequence('normalizers', normalizers) : null,
    pre_tokenizer: metaspace,
    post_processor: template(vocabulary, vocabulary.addBos ? ['bos'] : [], (vocabulary.addEos ?? true) ? ['eos'] : []),
    decoder: metaspace,
    model: {
      type: 'Unigram',
      unk_id: ids['unknown'] ?? 2,
      vocab: tokens.map((token, id) => [token, scores?.[id] ?? 0]),
      byte_fallback: false,
    },
  };
}

function base64(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
