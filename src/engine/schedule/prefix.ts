/**
 * @file Prompts that begin like what a cache has seen: that part is not computed again.
 */
import type { KVCache } from '../../kvcache/kv-cache.ts';
import type { CacheLease } from '../../kvcache/lease.ts';
import { InputError } from '../../util/errors.ts';

/**
 * Brings a cache of one row to the longest beginning of `tokens` that it can continue from, without the last token,
 * whose logits are wanted. Where all that it has computed is such a beginning, it is unchanged, whatever it has
 * evicted. Otherwise it is truncated, and where that is not possible (tokens were evicted, or scored by later ones) it
 * is cleared. Pending tokens are dropped: the prompt states them.
 * @returns how many tokens need not be computed.
 */
export function reusePrefix(cache: KVCache, tokens: readonly number[], lease?: CacheLease): number {
  const seen = cache.tokens();
  let same = 0;
  while (same < seen.length && same < tokens.length - 1 && seen[same] === tokens[same]) same++;
  if (same === seen.length) {
    cache.setPending(0, [], lease);
    return same;
  }
  try {
    if (same > 0) {
      cache.truncate(same, 0, lease);
      return same;
    }
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
  }
  cache.clear(lease);
  return 0;
}
