/**
 * @file Tokens by their texts and bytes, for log probabilities.
 */
import type { TokenLogprob } from '../engine/sampling/sampler.ts';
import type { TextTokenizer } from '../engine/text-model.ts';
import type { LikelyToken } from './turn.ts';

const encoder = new TextEncoder();
const UTF8 = { fatal: true, ignoreBOM: true };

/** A token of an answer or a prompt; of the first token of a prompt there is no log probability. */
interface ScoredToken<Logprob> {
  readonly token: number;
  readonly logprob: Logprob;
  readonly top?: readonly TokenLogprob[];
}

/** Tokens with their texts, and with the most likely ones at the position of each. */
export function likelyTokens<Logprob extends number | null>(
  tokenizer: TextTokenizer,
  tokens: readonly ScoredToken<Logprob>[],
) {
  const textOf = textsBy(tokenizer);
  const likely = async ({ token, logprob }: TokenLogprob): Promise<LikelyToken> => {
    const { text, bytes } = await textOf(token);
    return { text, bytes, logprob };
  };
  return Promise.all(
    tokens.map(async ({ token, logprob, top = [] }) => ({
      ...(await textOf(token)),
      logprob,
      top: await Promise.all(top.map(likely)),
    })),
  );
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
