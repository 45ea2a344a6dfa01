/**
 * @file The prompt of a completion, repeated before its answer, with the log probabilities of its tokens.
 */
import type { TextCache, TextModel } from '../engine/text-model.ts';
import { likelyTokens, type TokenTexts } from './likely-token.ts';
import type { Turn, TurnEvent } from './turn.ts';

/** What it took to repeat a prompt. */
export interface Echo {
  readonly event: Extract<TurnEvent, { readonly type: 'prompt' }>;
  /** Milliseconds of the log probabilities; null: none were asked for, and the prompt is not computed yet. */
  readonly scoreMs: number | null;
}

/**
 * Repeats the prompt of a turn; null: that is not asked for.
 * @param ids its tokens.
 * @param cache has computed them afterwards, but for the last one, where log probabilities are asked for.
 * @throws the library's errors; the signal's reason.
 */
export async function echoOf(
  model: TextModel,
  { echo, input, options: { topLogprobs, adapters } }: Turn,
  ids: readonly number[],
  cache: TextCache,
  signal: AbortSignal,
): Promise<Echo | null> {
  if (!echo || !('prompt' in input)) return null;
  const { tokenizer } = model;
  const { prompt } = input;
  const text = typeof prompt === 'string' ? prompt : await tokenizer.decode(ids, { skipSpecialTokens: false });
  if (topLogprobs === undefined || ids.length === 0) return { event: { type: 'prompt', text }, scoreMs: null };
  const started = performance.now();
  // A beginning that it has seen has no logits any more.
  await cache.clear();
  const { tokens } = await model.score(ids, { cache, topLogprobs, adapters, leavesLast: true, signal });
  const scoreMs = performance.now() - started;
  const found = await likelyTokens(tokenizer, tokens);
  return { event: { type: 'prompt', text, tokens: placed(text, found) }, scoreMs };
}

/** Tokens with their places in the text. Tokenizers add special tokens and a first space that are no part of it. */
function placed<T extends TokenTexts>(text: string, tokens: readonly T[]): (T & { readonly offset: number })[] {
  const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
  let [at, offset] = [0, 0];
  return tokens.map((token) => {
    const here = { ...token, offset };
    // A part of a character counts when the character is whole.
    const piece = decoder.decode(token.bytes, { stream: true });
    const there = [piece, piece.replace(/^ /, '')].find((each) => text.startsWith(each, at));
    const found = there ?? (token.isSpecial ? '' : piece);
    at += found.length;
    offset += characters(found);
    return here;
  });
}

/** Characters of Unicode, which other servers count: half as many as a string has where they are beyond 16 bits. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}
