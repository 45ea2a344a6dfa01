/**
 * @file SentencePiece's BPE (`llama`): spaces are written ▁, unknown characters as bytes; merges follow from scores.
 */
import { decodeTexts } from '../texts.ts';
import { splitMerge } from './packed-vocabulary.ts';
import { addedTokens, sequence, template, typeOf, vocabOf } from './parts.ts';
import { type GgufVocabulary, type Json, TOKEN_TYPE } from './types.ts';

const SPACE = '▁';

export function sentencePieceJson(original: GgufVocabulary): Json {
  const gemma = original.architecture.startsWith('gemma');
  const byLines = isCutByLines(original);
  const vocabulary = gemma ? withSpaceMarks(original) : original;
  const unused = (id: number) => typeOf(vocabulary, id) === TOKEN_TYPE.unused && !gemma;
  const vocab = vocabOf(vocabulary, unused);
  const prefix = vocabulary.addSpacePrefix ?? !(gemma || byLines);
  // Runs of spaces and lines that Gemma's files call user-defined are merged as all text is.
  const isText = gemma ? (token: string) => /^(▁+|[\s]+)$/.test(token) : undefined;
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary, isText),
    normalizer: sequence('normalizers', [
      ...(prefix ? [{ type: 'Prepend', prepend: SPACE }] : []),
      { type: 'Replace', pattern: { String: ' ' }, content: SPACE },
    ]),
    pre_tokenizer: byLines ? LINES : null,
    post_processor: template(
      vocabulary,
      (vocabulary.addBos ?? vocabulary.pre !== 'sarvam-moe') ? ['bos'] : [],
      (vocabulary.addEos ?? false) ? ['eos'] : [],
    ),
    decoder: sequence('decoders', [
      { type: 'Replace', pattern: { String: SPACE }, content: ' ' },
      { type: 'ByteFallback' },
      { type: 'Fuse' },
      ...(prefix ? [{ type: 'Strip', content: ' ', start: 1, stop: 0 }] : []),
    ]),
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: vocabulary.tokens[vocabulary.ids['unknown'] ?? 0] ?? null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab,
      merges: vocabulary.merges ? decodeTexts(vocabulary.merges).map(splitMerge) : mergesOf(vocabulary, vocab, gemma),
    },
  };
}

const LINES: Json = { type: 'Split', pattern: { Regex: '[^\\n]+|[\\n]+' }, behavior: 'Isolated', invert: false };
const CUT_BY_LINES: ReadonlySet<string> = new Set(['gemma4', 'granite-embed-multi-311m', 'sarvam-moe']);

/**
 * Gemma 4 and its kin have SentencePiece's letters, and merges within lines only; llama.cpp counts them to byte-level
 * BPE.
 */
export const isCutByLines = ({ model, pre }: GgufVocabulary): boolean =>
  model === 'gemma4' || (model === 'gpt2' && pre !== null && CUT_BY_LINES.has(pre));

/** User-defined tokens are stored with real spaces. */
function withSpaceMarks(vocabulary: GgufVocabulary): GgufVocabulary {
  const tokens = vocabulary.tokens.map((token, id) =>
    typeOf(vocabulary, id) === TOKEN_TYPE.userDefined && /^ +$/.test(token) ? token.replaceAll(' ', SPACE) : token,
  );
  return { ...vocabulary, tokens, textOf: (id) => tokens[id] };
}

/** Token types that merges make: text. */
const MERGED: ReadonlySet<number> = new Set([TOKEN_TYPE.normal, TOKEN_TYPE.userDefined, TOKEN_TYPE.unused]);

/** Letters of the longest token that merges make: the time of finding them grows with the square of it.. */
const LONGEST_MERGED = 1024;

/**
 * Every way to make a token of two others, best token first: the one of the higher score. The scores in Gemma's files
 * say nothing: user-defined tokens (runs of spaces and lines) go first, then the lower id. Among equals longer left
 * parts go first, as in Hugging Face's files.
 */
function mergesOf(vocabulary: GgufVocabulary, vocab: ReadonlyMap<string, number>, byId: boolean): [string, string][] {
  const { tokens, scores } = vocabulary;
  const rankOf = (id: number): number => {
    if (!byId) return -(scores?.[id] ?? 0);
    return typeOf(vocabulary, id) === TOKEN_TYPE.userDefined ? -1 : id;
  };
  const merges: { left: string; right: string; rank: number; lengths: number }[] = [];
  tokens.forEach((token, id) => {
    if (vocab.get(token) !== id || !MERGED.has(typeOf(vocabulary, id)) || token.length > 2 * LONGEST_MERGED) return;
    const letters = [...token];
    const made: typeof merges = [];
    let left = '';
    for (let i = 1; i < letters.length; i++) {
      left += letters[i - 1];
      const right = token.slice(left.length);
      if (vocab.has(left) && vocab.has(right))
        made.push({ left, right, rank: rankOf(id), lengths: i * 65_536 + letters.length - i });
    }
    made.sort((a, b) => vocab.get(a.left)! - vocab.get(b.left)! || vocab.get(a.right)! - vocab.get(b.right)!);
    merges.push(...made);
  });
  merges.sort((a, b) => a.rank - b.rank || b.lengths - a.lengths);
  return merges.map(({ left, right }) => [left, right]);
}
