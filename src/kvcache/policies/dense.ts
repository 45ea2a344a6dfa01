/**
 * @file `dense`: keeps every token, and says so when it is full.
 */
import { type CacheOptions, cacheFull, KVCache } from '../kv-cache.ts';
import type { CacheShape } from '../shape.ts';
import type { LayerView } from '../view.ts';

/**
 * The cache that never forgets. Layers with a sliding window hold no more than the window, which no later query can see
 * beyond.
 */
export class DenseKVCache extends KVCache {
  readonly policy = 'dense';
  override readonly evicts = false;

  constructor(shape: CacheShape, options: CacheOptions) {
    super(shape, options, { mode: 'kind', perGroup: false, columns: 0 });
  }

  override reserve(counts: readonly number[]): void {
    counts.forEach((count, row) => {
      const length = this.length(row);
      if (length + count > this.cacheLength) throw cacheFull(this.cacheLength, length, count);
    });
    super.reserve(counts);
  }

  /** Until it is full. */
  override room(row = 0): number {
    return this.cacheLength - this.length(row);
  }

  /** Reached only where `reserve` was passed by: a dense cache has nothing to give up. */
  protected override select({ row, fresh }: LayerView): never {
    throw cacheFull(this.cacheLength, this.length(row), fresh);
  }
}
