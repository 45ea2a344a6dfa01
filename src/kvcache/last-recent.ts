/**
 * @file `lastrec`: the first few tokens and the most recent ones.
 */
import { InputError } from '../errors.ts';
import { type CacheOptions, type CacheShape, type Candidates, KVCache, wholeNumber } from './kv-cache.ts';

export interface LastRecentOptions extends CacheOptions {
  /** Tokens at the start of the sequence that always stay; 4 unless stated (fewer where the budget is that small). */
  readonly sinks?: number;
}

const SINKS = 4;

/**
 * Attention sinks and a recent window (StreamingLLM, arXiv 2309.17453), with every token at its own position.
 */
export class LastRecentKVCache extends KVCache {
  readonly policy = 'lastrec';
  readonly sinks: number;

  /** @throws InputError where the sinks leave no slot for the newest token. */
  constructor(shape: CacheShape, options: LastRecentOptions) {
    super(shape, options);
    this.sinks = wholeNumber('sinks', options.sinks ?? Math.min(SINKS, this.cacheLength - 1), 0);
    if (this.sinks >= this.cacheLength)
      throw new InputError(
        `${this.sinks} sinks leave no room for recent tokens in a cacheLength of ${this.cacheLength}`,
      );
  }

  protected override keep({ positions, budget, now }: Candidates): Uint8Array {
    const sinks = Math.min(this.sinks, budget - 1); // layers with a short window may have a smaller budget
    let safe = 0;
    for (let j = 0; j < positions.length; j++) if (positions[j] < sinks) safe++;
    return Uint8Array.from(positions, (p) => (p < sinks || p > now - (budget - safe) ? 1 : 0));
  }
}
