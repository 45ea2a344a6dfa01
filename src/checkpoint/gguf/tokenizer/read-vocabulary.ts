/**
 * @file The vocabulary that a GGUF file's metadata hold.
 */
import { lazy } from '../../../util/once.ts';
import type { Metadata } from '../metadata.ts';
import { specialTokenId } from '../special-tokens.ts';
import { decodeTexts, packedAlone, textAt } from '../texts.ts';
import type { GgufVocabulary } from './types.ts';

const TOKEN_IDS = ['bos', 'eos', 'unknown', 'padding', 'seperator', 'cls', 'mask'] as const;

/**
 * Null where the file has none.
 * @throws CheckpointError for lists that do not fit each other, and ids out of range.
 */
export function readVocabulary(metadata: Metadata, architecture: string): GgufVocabulary | null {
  const own = metadata.below('tokenizer.ggml.');
  if (!own.has('model') || own.text('model') === 'none' || own.text('model') === 'no_vocab') return null;
  const packedTokens = packedAlone(own.packedTexts('tokens'));
  const count = packedTokens.lengths.length;
  const tokens = lazy(() => decodeTexts(packedTokens));
  const list = (key: string): ArrayLike<number> | null => {
    if (!own.has(key)) return null;
    const values = own.packedNumbers(key);
    if (values.length < count) throw own.fail(key, `has ${values.length} entries for ${count} tokens`);
    return values.length === count ? values : Array.from({ length: count }, (_, id) => values[id]);
  };
  const ids: Record<string, number> = {};
  for (const key of TOKEN_IDS) {
    const id = specialTokenId(metadata, key, count);
    if (id !== null) ids[key] = id;
  }
  const flag = (key: string) => (own.has(key) ? own.bool(key) : null);
  return {
    architecture,
    model: own.text('model'),
    pre: own.textOrNull('pre'),
    get tokens() {
      return tokens();
    },
    packedTokens,
    textOf: (id) => textAt(packedTokens, id),
    scores: list('scores'),
    types: list('token_type'),
    merges: own.has('merges') ? packedAlone(own.packedTexts('merges')) : null,
    ids,
    addBos: flag('add_bos_token'),
    addEos: flag('add_eos_token'),
    addSep: flag('add_sep_token'),
    addSpacePrefix: flag('add_space_prefix'),
    removeExtraWhitespaces: flag('remove_extra_whitespaces'),
    charsmap: own.has('precompiled_charsmap')
      ? Uint8Array.from(own.numbers('precompiled_charsmap'), (byte) => byte & 255)
      : null,
    chatTemplates: chatTemplates(metadata),
    huggingFaceJson: metadata.textOrNull('tokenizer.huggingface.json'),
  };
}

/** By name; `default` is the one without a name. */
function chatTemplates(metadata: Metadata): Record<string, string> {
  const templates: Record<string, string> = {};
  const key = 'tokenizer.chat_template';
  const plain = metadata.isList(key) ? metadata.texts(key)[0] : metadata.textOrNull(key);
  if (typeof plain === 'string') templates['default'] = plain;
  if (metadata.has('tokenizer.chat_templates'))
    for (const name of metadata.texts('tokenizer.chat_templates')) {
      const template = metadata.textOrNull(`${key}.${name}`);
      if (template !== null) templates[name] = template;
    }
  return templates;
}
