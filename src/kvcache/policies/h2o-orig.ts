/**
 * @file `h2o-orig`: heavy hitters as published.
 */
import type { CacheShape } from '../shape.ts';
import { H2OKVCache, type H2OOptions } from './h2o.ts';

/**
 * H2O as in arXiv 2306.14048: attention summed and not normalised, half of the budget for recent tokens, no sinks. What
 * differs: query groups decide for themselves, not heads (heads of a group share their slots).
 */
export class H2OOriginalKVCache extends H2OKVCache {
  override readonly policy = 'h2o-orig';

  constructor(shape: CacheShape, options: H2OOptions) {
    super(shape, { normalize: false, ...options }, { sinks: 0, recent: (cacheLength) => Math.floor(cacheLength / 2) });
  }
}
