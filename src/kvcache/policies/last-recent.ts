/**
 * @file `lastrec`: the first few tokens and the most recent ones.
 */
import { type CacheOptions, KVCache } from '../kv-cache.ts';
import { readSinks } from '../safe-options.ts';
import { keepBest } from '../select.ts';
import type { CacheShape } from '../shape.ts';
import type { LayerView } from '../view.ts';

export interface LastRecentOptions extends CacheOptions {
  /** Tokens at the start of the sequence that always stay; 4 unless stated (fewer where the budget is that small). */
  readonly sinks?: number;
}

/**
 * Attention sinks and a recent window (StreamingLLM, arXiv 2309.17453), with every token at its own position. The value of a
 * token is its position. All layers and groups hold the same.
 */
export class LastRecentKVCache extends KVCache {
  readonly policy = 'lastrec';
  override readonly sinks: number;

  /** @throws InputError where the sinks leave no slot for the newest token. */
  constructor(shape: CacheShape, options: LastRecentOptions) {
    super(shape, options, { mode: 'kind', perGroup: false, columns: 0 });
    this.sinks = readSinks(options, this.cacheLength);
  }

  protected override select({ groups, budget, now }: LayerView): void {
    for (const group of groups) {
      group.values.set(group.positions.subarray(0, group.length));
      keepBest(group, budget, now, { sinks: Math.min(this.sinks, budget - 1), recent: 1 });
    }
  }
}
