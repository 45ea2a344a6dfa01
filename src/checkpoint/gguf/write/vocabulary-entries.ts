/**
 * @file The metadata that llama.cpp reads a tokenizer from, made of tokenizer.json and tokenizer_config.json.
 */
import { TokenizerError } from '../../../util/errors.ts';
import { isObject } from '../../../util/json/is-object.ts';
import { PackedMerges, PackedVocabulary } from '../tokenizer/packed-vocabulary.ts';
import { preTokenizerOf } from '../tokenizer/pre-tokenizers.ts';
import { type Json, TOKEN_TYPE } from '../tokenizer/types.ts';
import type { Entry } from './header-bytes.ts';

interface Added {
  readonly id: number;
  readonly content: string;
  readonly special?: boolean;
}

/**
 * Entries below `tokenizer.`. Byte-level BPE, and BPE over ▁ with bytes to fall back on, can be written.
 * @param size of the embedding: ids without a token are filled up.
 * @throws TokenizerError for other kinds, and for a pre-tokenizer that GGUF has no name for.
 */
export function vocabularyEntries(json: Json, config: Json, size: number): Map<string, Entry> {
  const model = isObject(json['model']) ? json['model'] : {};
  const vocab = model['vocab'];
  if (model['type'] !== 'BPE' || !isObject(vocab))
    throw new TokenizerError(`a tokenizer of the kind ${String(model['type'])} can't be written to GGUF; BPE can`);
  const isSentencePiece = model['byte_fallback'] === true;
  const stated = model['merges'] instanceof PackedMerges ? model['merges'].toJSON() : model['merges'];
  const merges = (Array.isArray(stated) ? stated : []).map((merge: unknown) =>
    typeof merge === 'string' ? merge : (merge as string[]).join(' '),
  );
  const tokens: string[] = [];
  const types: number[] = [];
  const named = vocab instanceof PackedVocabulary ? vocab.toJSON() : vocab;
  for (const [token, id] of (named instanceof Map ? [...named] : Object.entries(named)) as [string, number][]) {
    tokens[id] = token;
    types[id] = isSentencePiece && /^<0x[0-9A-F]{2}>$/.test(token) ? TOKEN_TYPE.byte : TOKEN_TYPE.normal;
  }
  for (const { id, content, special } of (json['added_tokens'] ?? []) as Added[]) {
    tokens[id] = content;
    types[id] = special === true ? TOKEN_TYPE.control : TOKEN_TYPE.userDefined;
  }
  for (let id = 0; id < Math.max(size, tokens.length); id++)
    if (tokens[id] === undefined) {
      tokens[id] = `[PAD${id}]`;
      types[id] = TOKEN_TYPE.unused;
    }
  const entries = new Map<string, Entry>();
  const put = (key: string, entry: Entry) => entries.set(`tokenizer.ggml.${key}`, entry);
  put('model', { type: 'text', value: isSentencePiece ? 'llama' : 'gpt2' });
  put('tokens', { type: 'texts', value: tokens });
  put('token_type', { type: 'i32s', value: types });
  if (isSentencePiece) {
    put('scores', { type: 'f32s', value: scoresOf(tokens, merges) });
    put('add_space_prefix', { type: 'bool', value: hasPrefix(json) });
    put('pre', { type: 'text', value: 'default' });
  } else {
    put('merges', { type: 'texts', value: merges });
    put('pre', { type: 'text', value: preTokenizerOf(json, model['ignore_merges'] === true) });
  }
  const ids = new Map(tokens.map((token, id) => [token, id]));
  for (const [key, name] of SPECIAL) {
    const id = ids.get(textOf(config[key]) ?? '');
    if (id === undefined) continue;
    put(`${name}_token_id`, { type: 'u32', value: id });
    if (name === 'unknown' && isSentencePiece) types[id] = TOKEN_TYPE.unknown;
  }
  const first = firstSpecial(json['post_processor']);
  put('add_bos_token', { type: 'bool', value: first !== undefined && first === textOf(config['bos_token']) });
  put('add_eos_token', { type: 'bool', value: config['add_eos_token'] === true });
  const template = config['chat_template'];
  if (typeof template === 'string') entries.set('tokenizer.chat_template', { type: 'text', value: template });
  return entries;
}

const SPECIAL = [
  ['bos_token', 'bos'],
  ['eos_token', 'eos'],
  ['unk_token', 'unknown'],
  ['pad_token', 'padding'],
] as const;

/** Tokens that merges make go by the first merge that makes them; the others are never made. */
function scoresOf(tokens: readonly string[], merges: readonly string[]): number[] {
  const ranks = new Map<string, number>();
  merges.forEach((merge, rank) => {
    const token = merge.slice(0, merge.indexOf(' ', 1)) + merge.slice(merge.indexOf(' ', 1) + 1);
    if (!ranks.has(token)) ranks.set(token, rank);
  });
  return tokens.map((token) => -(ranks.get(token) ?? merges.length));
}

/** Whether a space is put before a text: by the normalizer, or by the pre-tokenizer. */
function hasPrefix(json: Json): boolean {
  const text = JSON.stringify([json['normalizer'], json['pre_tokenizer']]);
  return (
    /"type":"Prepend"/.test(text) || (/"type":"Metaspace"/.test(text) && !/"never"|"add_prefix_space":false/.test(text))
  );
}

/** The token that a TemplateProcessing puts before a text. */
function firstSpecial(post: unknown): string | undefined {
  if (!isObject(post)) return undefined;
  const inner = post['processors'];
  if (Array.isArray(inner)) return inner.map(firstSpecial).find((token) => token !== undefined);
  const single = post['single'];
  const [first] = Array.isArray(single) ? (single as Json[]) : [];
  const special = first?.['SpecialToken'];
  return isObject(special) && typeof special['id'] === 'string' ? special['id'] : undefined;
}

function textOf(token: unknown): string | undefined {
  if (isObject(token)) return typeof token['content'] === 'string' ? token['content'] : undefined;
  return typeof token === 'string' ? token : undefined;
}
