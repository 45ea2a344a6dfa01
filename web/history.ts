/**
 * @file What a cache has kept and evicted, told by its events, or by comparing what it holds from time to time.
 */
import type { CacheContents } from '../src/exports/policies.ts';
import type { CacheStep } from '../src/kvcache/events.ts';

/** A token in one layer. */
export interface CellState {
  /** Share of the layer's query groups that hold it, 0 … 1. */
  readonly held: number;
  /** Tokens that the cache had seen when the last group evicted it; -1: none has. */
  readonly evictedAt: number;
  /** Whether the last step wrote it. */
  readonly isNew: boolean;
}

/** Layers × tokens of one cache. */
export class CacheHistory {
  readonly layers: number;
  /** Tokens seen. */
  length = 0;
  /** Steps so far; a step is a chunk of a prompt, or one token. */
  steps = 0;
  /** Tokens × layers × groups evicted. */
  evictions = 0;
  readonly #held: Float32Array[];
  readonly #evictedAt: Int32Array[];
  readonly #writtenAt: Int32Array[];

  constructor(layers: number) {
    this.layers = layers;
    this.#held = Array.from({ length: layers }, () => new Float32Array(0));
    this.#evictedAt = Array.from({ length: layers }, () => new Int32Array(0));
    this.#writtenAt = Array.from({ length: layers }, () => new Int32Array(0));
  }

  add({ layers, length, groups }: CacheStep): void {
    if (length > this.length) {
      this.length = length;
      this.steps++;
      this.#grow();
    }
    const share = 1 / groups.length;
    for (const layer of layers) {
      const [held, evictedAt, writtenAt] = [this.#held[layer], this.#evictedAt[layer], this.#writtenAt[layer]];
      for (const { written, evicted } of groups) {
        for (const position of written) {
          held[position] = Math.min(1, held[position] + share);
          writtenAt[position] = this.steps;
        }
        for (const position of evicted) {
          // A token of the chunk that was never written was not held before.
          held[position] = writtenAt[position] === 0 ? 0 : Math.max(0, held[position] - share);
          evictedAt[position] = length;
        }
        this.evictions += evicted.length;
      }
    }
  }

  /** What the cache holds now. What was held or is new, and is not among it, was evicted. */
  show({ length, layerGroups }: CacheContents): void {
    const before = this.length;
    if (length > before) this.steps++;
    this.length = Math.max(before, length);
    this.#grow();
    for (const { layers, groups } of layerGroups)
      for (const layer of layers) {
        const held = this.#held[layer].slice(0, this.length);
        this.#held[layer].fill(0);
        for (const { positions } of groups)
          for (const position of positions) {
            this.#held[layer][position] += 1 / groups.length;
            // All of a cache that is seen for the first time is not new.
            if (before > 0 && position >= before) this.#writtenAt[layer][position] = this.steps;
          }
        for (let position = 0; position < length; position++) {
          const was = position < before ? held[position] : 1;
          if (this.#held[layer][position] >= was - 1e-3) continue;
          this.#evictedAt[layer][position] = length;
          this.evictions += Math.round((was - this.#held[layer][position]) * groups.length);
        }
      }
  }

  cell(layer: number, position: number): CellState {
    const held = this.#held[layer][position];
    return {
      held: held < 1e-3 ? 0 : held,
      evictedAt: this.#evictedAt[layer][position] || -1,
      isNew: this.steps > 0 && this.#writtenAt[layer][position] === this.steps,
    };
  }

  /** Tokens that a layer holds, as a mean over its groups. */
  heldOf(layer: number): number {
    let sum = 0;
    for (let position = 0; position < this.length; position++) sum += this.#held[layer][position];
    return sum;
  }

  #grow(): void {
    const size = this.#held[0]?.length ?? 0;
    if (this.length <= size) return;
    const next = Math.max(256, 2 ** Math.ceil(Math.log2(this.length)));
    for (let layer = 0; layer < this.layers; layer++) {
      this.#held[layer] = extended(this.#held[layer], new Float32Array(next));
      this.#evictedAt[layer] = extended(this.#evictedAt[layer], new Int32Array(next));
      this.#writtenAt[layer] = extended(this.#writtenAt[layer], new Int32Array(next));
    }
  }
}

function extended<T extends Float32Array | Int32Array>(old: T, next: T): T {
  next.set(old);
  return next;
}
