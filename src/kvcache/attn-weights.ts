/**
 * @file What all policies share that give each slot a score: the frame in which scores move with their slots, and the order
 * in which slots go.
 */
import { type CacheOptions, type CacheShape, KVCache, type Need } from './kv-cache.ts';
import { readRecent, readSinks } from './safe-options.ts';
import { keepBest } from './select.ts';
import type { GroupView, LayerView } from './view.ts';

export interface ScoreOptions extends CacheOptions {
  /** Tokens at the start of the sequence that always stay. */
  readonly sinks?: number;
  /** So many of the newest tokens always stay, the newest of all included: at least 1, or new tokens would go at once. */
  readonly recent?: number;
}

/** What a policy has of its own. */
export interface ScoreFrame {
  readonly needs?: readonly Need[];
  /** Whether each query group decides for itself; true unless stated. */
  readonly perGroup?: boolean;
  /** Defaults of the options. */
  readonly sinks?: number;
  readonly recent?: (cacheLength: number) => number;
  readonly budget?: (layer: number) => number;
  /** Numbers kept for each slot, the score included; 1 unless stated. */
  readonly columns?: number;
}

/**
 * A cache whose policy ranks slots by a score, mostly of attention weights: attend, then observe, then evict. After each chunk
 * {@link observe} brings the scores up to date; where a group holds more than the budget, {@link rank} gives the values by which
 * the best stay. Sinks and recent tokens are safe. New slots start with score 0.
 */
export abstract class AttnWeightsKVCache extends KVCache {
  override readonly needs: readonly Need[];
  readonly sinks: number;
  readonly recent: number;

  /** @throws InputError where sinks and recent tokens exceed the budget. */
  constructor(shape: CacheShape, options: ScoreOptions, frame: ScoreFrame = {}) {
    super(shape, options, {
      mode: 'layer',
      perGroup: frame.perGroup ?? true,
      columns: frame.columns ?? 1,
      budget: frame.budget,
    });
    this.needs = frame.needs ?? [];
    const smallest = Math.min(
      ...[...this.tables.values()].filter((t) => t.window === null).map((t) => t.budget),
      this.cacheLength,
    );
    this.sinks = readSinks(options, smallest, frame.sinks ?? 0);
    const usual = frame.recent?.(smallest) ?? Math.floor(smallest / 8);
    this.recent = readRecent(options, smallest, this.sinks, usual);
  }

  /** Brings a group's scores up to date; they stay as they are unless a policy says otherwise. */
  protected score(_group: GroupView, _view: LayerView): void {}

  /** Fills `values`; the scores unless a policy says otherwise. */
  protected rank({ values, scores, length }: GroupView, _view: LayerView): void {
    for (let j = 0; j < length; j++) values[j] = scores[j];
  }

  protected override observe(view: LayerView): void {
    for (const group of view.groups) this.score(group, view);
  }

  protected override select(view: LayerView): void {
    const { budget, now } = view;
    // Layers with a short window may have a smaller budget than the options were made for.
    const sinks = Math.min(this.sinks, budget - 1);
    const recent = Math.min(this.recent, budget - sinks);
    for (const group of view.groups) {
      if (group.kept <= budget) continue;
      this.rank(group, view);
      keepBest(group, budget, now, { sinks, recent });
    }
  }
}
