/**
 * @file Tokens by their texts and bytes, for log probabilities.
 */
import type { GeneratedToken } from '../engine/options.ts';
import type { TokenLogprob } from '../engine/sampling/sampler.ts';
import type { TextTokenizer } from '../engine/text-model.ts';
import type { LikelyToken, TurnToken } from './turn.ts';

const encoder = new TextEncoder();
const UTF8 = { fatal: true, ignoreBOM: true };

/** Tokens of an answer, with the most likely ones at the position of each. */
export function turnTokens(tokenizer: TextTokenizer, tokens: readonly GeneratedToken[]): Promise<TurnToken[]> {
  const likely = (each: TokenLogprob) => likelyToken(tokenizer, each);
  return Promise.all(
    tokens.map(async (each) => ({ ...(await likely(each)), top: await Promise.all((each.top ?? []).map(likely)) })),
  );
}

async function likelyToken(tokenizer: TextTokenizer, { token, logprob }: TokenLogprob): Promise<LikelyToken> {
  const { text, bytes } = await tokenText(tokenizer, token);
  return { text, bytes, logprob };
}

/**
 * A token as it stands within a text, with the space before it; `isText`: it is no part of a character; `isSpecial`: it
 * adds nothing to a text by itself.
 */
async function tokenText(tokenizer: TextTokenizer, token: number) {
  const bytes = await tokenizer.tokenBytes(token);
  if (bytes) return { bytes, isSpecial: false, ...textOf(bytes) };
  const text = await tokenizer.decode([token], { skipSpecialTokens: false });
  return { text, bytes: encoder.encode(text), isSpecial: true, isText: true };
}

export type TokenTexts = Awaited<ReturnType<typeof tokenText>>;

/** {@link tokenText}, which asks for each token once. */
export function textsBy(tokenizer: TextTokenizer): (token: number) => Promise<TokenTexts> {
  const known = new Map<number, Promise<TokenTexts>>();
  return (token) => {
    const text = known.get(token) ?? tokenText(tokenizer, token);
    known.set(token, text);
    return text;
  };
}

/** A part of a character is written as OpenAI writes it, so that two of them are told apart. */
function textOf(bytes: Uint8Array) {
  try {
    return { text: new TextDecoder('utf-8', UTF8).decode(bytes), isText: true };
  } catch {
    const escaped = Array.from(bytes, (byte) => `\\x${byte.toString(16).padStart(2, '0')}`);
    return { text: `bytes:${escaped.join('')}`, isText: false };
  }
}
