/**
 * @file The rows of one cache, side by side: sequences join and leave, and the first lanes are always those in use.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';

/** A sequence that takes a lane. */
export interface BatchMember {
  /** The cache of one row that it comes from. */
  readonly cache: KVCache;
}

export class SharedBatch<T extends BatchMember> {
  /** A row for each lane, once {@link compact} was called. */
  readonly cache: KVCache;
  readonly #lanes: (T | null)[] = [];
  #joining: T[] = [];

  /** @param like a cache of the kind that passengers come with. */
  constructor(like: KVCache) {
    this.cache = like.recreate(1);
  }

  /** Whether a cache is of the same policy and options, so that a row of it fits here. */
  takes(cache: KVCache): boolean {
    return cache.constructor === this.cache.constructor && optionsOf(cache) === optionsOf(this.cache);
  }

  /** Those in lanes, in their order, and those about to join. */
  get all(): readonly T[] {
    return [...this.#lanes.filter((passenger) => passenger !== null), ...this.#joining];
  }

  /** Those in lanes: the index is the row of {@link cache}. Meaningful after {@link compact}. */
  get rows(): readonly T[] {
    return this.#lanes as T[];
  }

  /** Takes a lane with the next {@link compact}. */
  join(passenger: T): void {
    this.#joining.push(passenger);
  }

  leave(passenger: T): void {
    const lane = this.#lanes.indexOf(passenger);
    if (lane >= 0) this.#lanes[lane] = null;
    else this.#joining = this.#joining.filter((other) => other !== passenger);
  }

  /** Gives free lanes to those who join, and closes the gaps that are left. */
  compact(): void {
    const { cache } = this;
    const lanes = this.#lanes;
    const gaps = lanes.flatMap((passenger, lane) => (passenger ? [] : [lane]));
    if (gaps.length === 0 && this.#joining.length === 0) return;
    const longer = lanes.length + Math.max(0, this.#joining.length - gaps.length);
    if (longer > cache.batch) cache.setBatch(longer);
    for (const passenger of this.#joining) {
      const lane = gaps.shift() ?? lanes.length;
      cache.copyRow(passenger.cache, 0, lane);
      lanes[lane] = passenger;
    }
    this.#joining = [];
    for (const gap of gaps) {
      while (lanes.length > gap && lanes[lanes.length - 1] === null) lanes.pop();
      if (gap >= lanes.length) break;
      cache.copyRow(cache, lanes.length - 1, gap);
      lanes[gap] = lanes.pop()!;
    }
    cache.setBatch(Math.max(1, lanes.length));
    cache.trim();
  }
}

/** All that says what a row holds. */
function optionsOf({ options, bufferKind: buffer }: KVCache): string {
  return JSON.stringify(Object.entries({ ...options, buffer, batch: undefined, blockSize: undefined }).sort());
}
