/**
 * @file What a cache has kept and evicted, told by its events, or by comparing what it holds from time to time.
 */
import type { CacheContents } from '../src/exports/policies.ts';
import type { CacheStep } from '../src/kvcache/rows/events.ts';

/** A token in one row of the picture: in a layer, or in a query group of one. */
export interface CellState {
  /** Share of the row's query groups that hold it, 0 … 1. */
  readonly held: number;
  /** Tokens that the cache had seen when the last group evicted it; -1: none has. */
  readonly evictedAt: number;
  /** Whether the last step wrote it. */
  readonly isNew: boolean;
}

/** Rows × tokens of one cache. Rows are layers; each layer has a history of its own, whose rows are its query groups. */
export class CacheHistory {
  readonly rows: number;
  /** Tokens seen. */
  length = 0;
  /** Steps so far; a step is a chunk of a prompt, or one token. */
  steps = 0;
  readonly #held: Float32Array[];
  readonly #evictedAt: Int32Array[];
  readonly #writtenAt: Int32Array[];
  readonly #groups: CacheHistory[] | null;

  /** @param hasGroups whether rows are layers. */
  constructor(rows: number, hasGroups = true) {
    this.rows = rows;
    this.#held = Array.from({ length: rows }, () => new Float32Array(0));
    this.#evictedAt = Array.from({ length: rows }, () => new Int32Array(0));
    this.#writtenAt = Array.from({ length: rows }, () => new Int32Array(0));
    this.#groups = hasGroups ? [] : null;
  }

  /** The query groups of a layer. There is one row where all hold the same; null: the layer has no slots yet. */
  groupsOf(layer: number): CacheHistory | null {
    return this.#groups?.[layer] ?? null;
  }

  #openGroups(layer: number, count: number): CacheHistory | null {
    if (!this.#groups) return null;
    this.#groups[layer] ??= new CacheHistory(count, false);
    return this.#groups[layer];
  }

  add(step: CacheStep): void {
    const { layers, length, groups } = step;
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
      }
      const own = this.#openGroups(layer, groups.length);
      if (own) for (const [g, group] of groups.entries()) own.add({ ...step, layers: [g], groups: [group] });
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
        }
        const own = this.#openGroups(layer, groups.length);
        own?.show({ length, layerGroups: groups.map((group, g) => ({ layers: [g], groups: [group] })) });
      }
  }

  cell(row: number, position: number): CellState {
    const held = this.#held[row][position];
    return {
      held: held < 1e-3 ? 0 : held,
      evictedAt: this.#evictedAt[row][position] || -1,
      isNew: this.steps > 0 && this.#writtenAt[row][position] === this.steps,
    };
  }

  /** Tokens that a row holds, as a mean over its groups. */
  heldOf(row: number): number {
    let sum = 0;
    for (let position = 0; position < this.length; position++) sum += this.#held[row][position];
    return sum;
  }

  #grow(): void {
    const size = this.#held[0]?.length ?? 0;
    if (this.length <= size) return;
    const next = Math.max(256, 2 ** Math.ceil(Math.log2(this.length)));
    for (let row = 0; row < this.rows; row++) {
      this.#held[row] = extended(this.#held[row], new Float32Array(next));
      this.#evictedAt[row] = extended(this.#evictedAt[row], new Int32Array(next));
      this.#writtenAt[row] = extended(this.#writtenAt[row], new Int32Array(next));
    }
  }
}

function extended<T extends Float32Array | Int32Array>(old: T, next: T): T {
  next.set(old);
  return next;
}
