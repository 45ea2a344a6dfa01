/**
 * @file Tokens by their texts and bytes, for log probabilities.
 */
import type { TextTokenizer } from '../engine/text-model.ts';
import type { LikelyToken } from './turn.ts';

const encoder = new TextEncoder();
const UTF8 = { fatal: true, ignoreBOM: true };

/** A token as it stands within a text, with the space before it. */
export async function likelyToken(tokenizer: TextTokenizer, id: number, logprob: number): Promise<LikelyToken> {
  const bytes = await tokenizer.tokenBytes(id);
  if (bytes) return { text: textOf(bytes), bytes, logprob };
  const text = await tokenizer.decode([id], { skipSpecialTokens: false });
  return { text, bytes: encoder.encode(text), logprob };
}

/** A part of a character is written as OpenAI writes it, so that two of them are told apart. */
function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', UTF8).decode(bytes);
  } catch {
    return `bytes:${Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')}`;
  }
}
