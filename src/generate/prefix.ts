/**
 * @file Prompts that begin like the last one: what is held of it need not be computed anew.
 */
import { InputError } from '../errors.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';

/**
 * Brings a cache to the longest beginning of `tokens` that it holds, short of the last token (whose logits are wanted). Where it
 * can't go back that far (tokens were evicted, or scored by what came later) it is cleared.
 * @returns how many tokens need not be computed.
 */
export function reusePrefix(cache: KVCache, tokens: readonly number[]): number {
  const seen = cache.tokens();
  let same = 0;
  while (same < seen.length && same < tokens.length - 1 && seen[same] === tokens[same]) same++;
  if (same === seen.length && cache.stats().evicted[0] === 0) return same;
  try {
    if (same < seen.length && same > 0) {
      cache.truncate(same);
      if (cache.stats().evicted[0] === 0) return same;
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
  }
  cache.clear();
  return 0;
}
