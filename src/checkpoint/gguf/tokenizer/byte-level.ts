/**
 * @file Byte-level BPE (`gpt2`): tokens are written in GPT-2's letters for bytes, merges are in the file.
 */
import { TokenizerError } from '../../../util/errors.ts';
import { show } from '../../../util/json/show.ts';
import { PackedMerges, PackedVocabulary } from './packed-vocabulary.ts';
import { addedTokens, sequence, template } from './parts.ts';
import { DEFAULT_PRE_TOKENIZER, type PreTokenizer, preTokenizer } from './pre-tokenizers.ts';
import { type GgufVocabulary, type Json, TOKEN_TYPE } from './types.ts';

/**
 * @throws TokenizerError for a file without merges, or a pre-tokenizer that is not known: with another one text would
 * be cut into other tokens than the model was trained with.
 */
export function byteLevelJson(vocabulary: GgufVocabulary): Json {
  const { merges, pre } = vocabulary;
  if (merges === null) throw new TokenizerError('the GGUF file has a byte-level tokenizer without merges');
  const row = pre === null ? DEFAULT_PRE_TOKENIZER : preTokenizer(pre);
  if (row === null)
    throw new TokenizerError(
      `the GGUF file's tokenizer.ggml.pre is ${show(pre)}, which is not known; ` +
        'use the safetensors version of the model',
    );
  const before = (vocabulary.addBos ?? row.addBos ?? false) ? ['bos'] : [];
  const { types } = vocabulary;
  const vocab = new PackedVocabulary(vocabulary.packedTokens, (id) => types?.[id] === TOKEN_TYPE.unused);
  const after = vocabulary.addEos ? ['eos'] : vocabulary.addSep ? ['seperator'] : [];
  return {
    version: '1.0',
    added_tokens: addedTokens(vocabulary),
    normalizer: row.nfc ? { type: 'NFC' } : null,
    pre_tokenizer: cut(row),
    post_processor: template(vocabulary, before, after),
    decoder: { type: 'ByteLevel', add_prefix_space: true, trim_offsets: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: row.ignoreMerges ?? false,
      vocab,
      merges: new PackedMerges(vocab, merges),
    },
  };
}

function cut({ patterns }: PreTokenizer): Json {
  const splits = patterns.map((pattern) => ({
    type: 'Split',
    pattern: { Regex: pattern },
    behavior: 'Isolated',
    invert: false,
  }));
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  return sequence('pretokenizers', [...splits, bytes]);
}
