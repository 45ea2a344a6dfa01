/**
 * @file `dense`: keeps every token, and says so when it is full.
 */
import { type Candidates, cacheFull, KVCache } from './kv-cache.ts';

/**
 * The cache that never forgets. Layers with a sliding window hold no more than the window, which no later query can see
 * beyond.
 */
export class DenseKVCache extends KVCache {
  readonly policy = 'dense';

  override reserve(counts: readonly number[]): void {
    counts.forEach((count, row) => {
      const length = this.length(row);
      if (length + count > this.cacheLength) throw cacheFull(this.cacheLength, length, count);
    });
  }

  /** Reached only where `reserve` was passed by: a dense cache has nothing to give up. */
  protected override keep({ row, now }: Candidates): never {
    throw cacheFull(this.cacheLength, this.length(row), now + 1 - this.length(row));
  }
}
