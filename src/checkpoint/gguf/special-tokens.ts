/**
 * @file Ids of special tokens in a GGUF file's metadata.
 */
import type { Metadata } from './metadata.ts';
import { TOKEN_TYPE } from './tokenizer/types.ts';

export type SpecialToken = 'bos' | 'eos' | 'eot' | 'eom' | 'unknown' | 'padding' | 'seperator' | 'cls' | 'mask';

/** Ids that llama.cpp takes where a file does not state them, by tokenizer.ggml.model. */
const USUAL: Readonly<Record<string, Partial<Record<SpecialToken, number>>>> = {
  llama: { bos: 1, eos: 2, unknown: 0 },
  bert: { bos: 101, unknown: 100, seperator: 102, padding: 0, mask: 103 },
  t5: { eos: 1, unknown: 2, padding: 0 },
};

/**
 * Tokens that end an answer wherever they are control tokens: files name one or two of them, and generation_config.json
 * is not in a file.
 */
const ENDS = [
  ...['<|eot_id|>', '<|eom_id|>', '<|end_of_text|>', '<|im_end|>', '<|endoftext|>', '<|end|>', '<end_of_turn>'],
  ...['<|return|>', '<|call|>', '<|calls|>', '<|flush|>', '<turn|>', '<|tool_response>', '<end_of_utterance>'],
  ...['<EOT>', '_<EOT>', '[EOT]', '[EOS]', '<｜end▁of▁sentence｜>', '[e~['],
];
/** Where an answer has several channels, `<|end|>` ends one of them. */
const CHANNEL_ENDS: readonly (readonly [string, string])[] = [
  ['<|return|>', '<|call|>'],
  ['<|calls|>', '<|flush|>'],
];

/**
 * The id of a special token; null where there is none.
 * @param count of all tokens.
 */
export function specialTokenId(metadata: Metadata, name: SpecialToken, count: number): number | null {
  const own = metadata.below('tokenizer.ggml.');
  const [stated] = own.tokenIds(`${name}_token_id`, count);
  if (stated !== undefined) return stated;
  const model = own.textOrNull('model') ?? '';
  const usual = Object.hasOwn(USUAL, model) ? USUAL[model][name] : undefined;
  return usual !== undefined && usual < count ? usual : null;
}

/**
 * The tokens at which an answer ends: those that the file names, and control tokens that end turns in every model that
 * has them.
 * @param count of all tokens.
 */
export function endTokenIds(metadata: Metadata, count: number): number[] {
  const own = metadata.below('tokenizer.ggml.');
  const named = (['eos', 'eot', 'eom'] as const).flatMap((name) => own.tokenIds(`${name}_token_id`, count));
  if (named.length === 0) named.push(...[specialTokenId(metadata, 'eos', count)].filter((id) => id !== null));
  const found = new Map(own.indicesOf('tokens', ENDS));
  if (CHANNEL_ENDS.some((pair) => pair.every((text) => found.has(text)))) found.delete('<|end|>');
  const ids = [...found.values()].filter((id) => id < count);
  const types = own.numbersAt('token_type', ids, TOKEN_TYPE.normal);
  return [...new Set([...named, ...ids.filter((_, i) => types[i] !== TOKEN_TYPE.normal)])];
}
