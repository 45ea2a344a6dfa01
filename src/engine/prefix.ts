/**
 * @file Prompts that begin like what a cache has seen: that part need not be computed anew.
 */

import type { KVCache } from '../kvcache/kv-cache.ts';
import { InputError } from '../util/errors.ts';

/**
 * Brings a cache of one row to the longest beginning of `tokens` that it can go on from, short of the last token (whose logits are
 * wanted). Where all it has seen is such a beginning, it stays as it is, whatever it has evicted meanwhile. Otherwise it goes
 * back, and where that can't be (tokens were evicted, or scored by what came later) it is cleared.
 * @returns how many tokens need not be computed.
 */
export function reusePrefix(cache: KVCache, tokens: readonly number[]): number {
  const seen = cache.tokens();
  let same = 0;
  while (same < seen.length && same < tokens.length - 1 && seen[same] === tokens[same]) same++;
  if (same === seen.length) return same;
  try {
    if (same > 0) {
      cache.truncate(same);
      return same;
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
  }
  cache.clear();
  return 0;
}
