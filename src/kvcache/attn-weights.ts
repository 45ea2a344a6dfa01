/**
 * @file What all policies share that give each slot a score: the frame in which scores move with their slots, and the order
 * in which slots go.
 */
import { InputError } from '../util/errors.ts';
import { floorSlots, keepBestTogether, readFloor } from './ada.ts';
import { type CacheOptions, KVCache, type Need } from './kv-cache.ts';
import { readRecent, readSinks } from './safe-options.ts';
import { keepBest, type SafeTokens } from './select.ts';
import type { CacheShape } from './shape.ts';
import type { SlotTable } from './slots.ts';
import type { GroupView, LayerView } from './view.ts';

export interface ScoreOptions extends CacheOptions {
  /** Tokens at the start of the sequence that always stay. */
  readonly sinks?: number;
  /** So many of the newest tokens always stay, the newest of all included: at least 1, or new tokens would go at once. */
  readonly recent?: number;
  /**
   * `ada`: the query groups of a layer share its budget, but for a part of it (`floor`; 0.2 unless stated) that each group has
   * for its own best.
   */
  readonly ada?: { readonly floor?: number } | boolean;
}

/** What a policy has of its own. */
export interface ScoreFrame {
  readonly needs?: readonly Need[];
  /** Whether each query group decides for itself; true unless stated. */
  readonly perGroup?: boolean;
  /** Defaults of the options. */
  readonly sinks?: number;
  readonly recent?: (budget: number) => number;
  /** Slots of a layer; the cacheLength unless stated. */
  readonly budget?: (layer: number) => number;
  /** Numbers kept for each slot, the score included; 1 unless stated. */
  readonly columns?: number;
  /** Numbers kept for each row. */
  readonly numbers?: number;
}

/**
 * A cache whose policy ranks slots by a score, mostly of attention weights: attend, then observe, then evict. After each chunk
 * {@link score} brings the scores up to date; where a group holds more than the budget, {@link rank} gives the values by which
 * the best stay. Sinks and recent tokens are safe. New slots start with score 0.
 */
export abstract class AttnWeightsKVCache extends KVCache {
  override readonly needs: readonly Need[];
  override readonly sinks: number;
  readonly recent: number;
  /** The first layer that is observed. */
  protected readonly firstLayer: number;
  readonly #floor: number | null;

  /** @throws InputError where sinks and recent tokens exceed the budget. */
  constructor(shape: CacheShape, options: ScoreOptions, frame: ScoreFrame = {}) {
    super(shape, options, {
      mode: 'layer',
      perGroup: frame.perGroup ?? true,
      columns: frame.columns ?? 1,
      numbers: frame.numbers,
      budget: frame.budget,
    });
    this.needs = frame.needs ?? [];
    const tables = [...this.tables.values()];
    this.firstLayer = tables[0]?.layers[0] ?? 0;
    const N = this.cacheLength;
    this.sinks = readSinks(options, N, frame.sinks ?? 0);
    this.recent = readRecent(options, N, this.sinks, frame.recent?.(N) ?? Math.floor(N / 8));
    this.#floor = readAda(options.ada, frame.perGroup ?? true);
  }

  /** Brings a group's scores up to date; they stay as they are unless a policy says otherwise. */
  protected score(_group: GroupView, _view: LayerView): void {}

  /** Fills `values`; the scores unless a policy says otherwise. */
  protected rank({ values, scores, length }: GroupView, _view: LayerView): void {
    for (let j = 0; j < length; j++) values[j] = scores[j];
  }

  /** How many of the newest tokens are safe. */
  protected recentOf(_view: LayerView): number {
    return this.recent;
  }

  protected override observe(view: LayerView): void {
    for (const group of view.groups) this.score(group, view);
  }

  protected override overflows(view: LayerView): boolean {
    if (this.#floor === null) return super.overflows(view);
    return view.groups.reduce((sum, group) => sum + group.kept, 0) > view.groups.length * view.budget;
  }

  protected override roomIn(table: SlotTable, row: number): number {
    if (this.#floor === null) return super.roomIn(table, row);
    const from = table.lane(row, 0);
    const held = table.filled.subarray(from, from + table.groups).reduce((sum, count) => sum + count, 0);
    return Math.floor(table.budget - held / table.groups);
  }

  protected override mostPerGroup(budget: number): number {
    if (this.#floor === null) return budget;
    return budget + (this.shape.nQueryGroups - 1) * (budget - floorSlots(this.#floor, budget));
  }

  /** Sinks and recent tokens of a layer. */
  protected safeTokens(view: LayerView): SafeTokens {
    // Layers may have a smaller budget than the options were made for: those with a short window, thin ones of a pyramid.
    const sinks = Math.min(this.sinks, view.budget - 1);
    return { sinks, recent: Math.min(this.recentOf(view), view.budget - sinks) };
  }

  protected override select(view: LayerView): void {
    const { budget, now } = view;
    const safe = this.safeTokens(view);
    for (const group of view.groups) {
      if (this.#floor === null && group.kept <= budget) continue;
      this.rank(group, view);
      if (this.#floor === null) keepBest(group, budget, now, safe);
    }
    if (this.#floor !== null) keepBestTogether(view, safe, this.#floor);
  }
}

/** @throws InputError where there are no groups that could share. */
function readAda(ada: ScoreOptions['ada'], perGroup: boolean): number | null {
  if (!ada) return null;
  if (!perGroup)
    throw new InputError('this policy decides for all groups of a layer at once, so they have no budget to share');
  return readFloor(ada === true ? undefined : ada.floor);
}
