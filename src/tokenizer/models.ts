/**
 * @file The model of a tokenizer: a word as ids.
 */
import { TokenizerError } from '../util/errors.ts';
import { show } from '../util/json/show.ts';
import { bpe } from './bpe.ts';
import { count, type Json, text } from './fields.ts';
import type { TokenIds, TokenModel, Vocabulary } from './token-model.ts';
import { unigram } from './unigram.ts';

export function tokenModel(model: Json, idOf: TokenIds): TokenModel {
  const type = model['type'] ?? (Array.isArray(model['vocab']) ? 'Unigram' : 'merges' in model ? 'BPE' : 'WordPiece');
  const named = model['unk_token'];
  const unknownId = type === 'Unigram' ? model['unk_id'] : typeof named === 'string' ? idOf.get(named) : undefined;
  const unknown = (token: string): number => {
    if (typeof unknownId === 'number') return unknownId;
    throw new TokenizerError(`tokenizer.json has no token for ${show(token)}, and no token for what is unknown`);
  };
  const vocabulary = { idOf, unknown };
  if (type === 'BPE') return bpe(model, vocabulary);
  if (type === 'Unigram') return unigram(model, vocabulary);
  return type === 'WordPiece' ? wordPiece(model, vocabulary) : wordLevel(vocabulary);
}

const wordLevel =
  ({ idOf, unknown }: Vocabulary): TokenModel =>
  (word) => [idOf.get(word) ?? unknown(word)];

/** From left to right the longest token that fits. */
function wordPiece(model: Json, { idOf, unknown }: Vocabulary): TokenModel {
  const prefix = text(model, 'continuing_subword_prefix', '##');
  const most = count(model, 'max_input_chars_per_word', 100);
  return (word) => {
    const chars = Array.from(word);
    if (chars.length > most) return [unknown(word)];
    const ids: number[] = [];
    for (let start = 0; start < chars.length; ) {
      let end = chars.length;
      let id: number | undefined;
      for (; end > start && id === undefined; end--)
        id = idOf.get((start > 0 ? prefix : '') + chars.slice(start, end).join(''));
      if (id === undefined) return [unknown(word)];
      ids.push(id);
      start = end + 1;
    }
    return ids;
  };
}
