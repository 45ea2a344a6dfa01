/**
 * @file What an evaluation took.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';

export interface Cost {
  /** Milliseconds in steps, the cache's own work included, by token. */
  readonly msPerToken: number;
  /** Most bytes that a cache's keys and values took. */
  readonly cacheBytes: number;
  /** Most bytes that all of a cache took: also positions, scores, states and token ids. */
  readonly totalBytes: number;
}

export class CostMeter {
  #ms = 0;
  #tokens = 0;
  #bytes = 0;
  #total = 0;

  /** Counts a step of so many tokens. */
  add(ms: number, tokens: number): void {
    this.#ms += ms;
    this.#tokens += tokens;
  }

  /** Runs and counts a step. */
  async time<T>(tokens: number, step: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    const result = await step();
    this.add(performance.now() - begin, tokens);
    return result;
  }

  /** Looks at what a cache holds. */
  hold(cache: KVCache): void {
    const { keysAndValues, total } = cache.memory();
    this.#bytes = Math.max(this.#bytes, keysAndValues);
    this.#total = Math.max(this.#total, total);
  }

  cost(): Cost {
    const msPerToken = this.#tokens === 0 ? 0 : this.#ms / this.#tokens;
    return { msPerToken, cacheBytes: this.#bytes, totalBytes: this.#total };
  }
}
