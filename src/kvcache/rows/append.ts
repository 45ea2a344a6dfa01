/**
 * @file Takes a chunk in: shows it to the policy, plans where the survivors go, and has the store carry the plan out.
 */
import { GraphError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import { cacheFull } from '../options.ts';
import { type Need, neededSets, needsBy, queryStep } from '../policy/needs.ts';
import type { Policy } from '../policy/policy.ts';
import { LayerView } from '../policy/view.ts';
import type { CacheShape } from '../shape.ts';
import { StepPlan } from '../slots/plan.ts';
import type { SlotStore } from '../slots/slot-store.ts';
import type { SlotTable } from '../slots/slots.ts';
import type { ChunkOutputs } from './chunk.ts';
import { type CacheStep, StepEvents } from './events.ts';
import type { KeySums } from './key-sums.ts';
import type { Row } from './row.ts';

/** What chunks are taken into. */
export interface AppendTarget {
  readonly shape: CacheShape;
  readonly cacheLength: number;
  /** The policy's name. */
  readonly policy: string;
  readonly rules: Policy;
  readonly store: SlotStore;
  readonly rows: readonly Row[];
  readonly keySums: KeySums | null;
}

export class Appender {
  readonly events = new StepEvents();
  /** Numbers that the policy keeps for all layers of a row. */
  readonly layerState: number;
  /** Numbers of a token's queries in all layers, where the policy asks for them. */
  readonly queries: number;
  readonly #cache: AppendTarget;
  readonly #view: LayerView;
  readonly #plan = new StepPlan();

  constructor(cache: AppendTarget) {
    this.#cache = cache;
    const { shape, rules, store } = cache;
    let total = 0;
    let queries = 0;
    const firstQueries = shape.layers.map(({ slots, heads, keySize }) => {
      const first = queries;
      if (slots && rules.needsQueries) queries += heads * keySize;
      return first;
    });
    this.queries = queries;
    const layerStates = shape.layers.map(({ slots }, l): readonly [number, number] => {
      const count = slots ? (rules.layout.layerState?.(l) ?? 0) : 0;
      total += count;
      return [total - count, count];
    });
    this.layerState = total;
    this.#view = new LayerView({
      shape,
      buffers: store.buffers,
      needs: neededSets(rules.needs),
      lendsState: store.lendsState,
      queryRange: (need, newTokens) => this.#queryRange(need, newTokens),
      layerStateOf: (layer) => layerStates[layer],
      firstQueryOf: (layer) => firstQueries[layer],
    });
  }

  /** Takes the chunk's keys and values in. An error leaves the cache as it was. */
  append(chunk: ChunkOutputs): void {
    const { store, rows: all } = this.#cache;
    const rows = range(all.length).filter((row) => chunk.tokens[row].length > 0);
    const steps: CacheStep[] = [];
    store.begin(rows);
    for (const row of rows) all[row].begin();
    try {
      for (const row of rows) this.#beginRow(all[row], row, chunk);
      for (const table of store.tables.values()) for (const row of rows) this.#appendRow(table, row, chunk, steps);
    } catch (error) {
      for (const row of rows) {
        store.revert(row);
        all[row].abandon();
      }
      throw error;
    }
    if (!store.states.isEmpty) store.states.advance(rows, chunk);
    for (const row of rows) all[row].advance(chunk, row);
    this.events.emit(steps);
  }

  /** How much each of a chunk's queries counts for each need that is a sum [needs][newTokens]. */
  queryWeights(newTokens: number): Float32Array[] {
    return needsBy('sum', this.#cache.rules.needs).map((need) => {
      const weights = new Float32Array(newTokens);
      const [from, to] = this.#queryRange(need, newTokens);
      for (let t = from; t < to; t += queryStep(need)) weights[t] = 1;
      return weights;
    });
  }

  #queryRange(need: Need, newTokens: number): readonly [number, number] {
    const given = this.#cache.rules.queryRange?.(need, newTokens);
    return given ?? [need === 'last-query' ? newTokens - 1 : 0, newTokens];
  }

  #beginRow(state: Row, row: number, { tokens: chunk, phase }: ChunkOutputs): void {
    const { rules } = this.#cache;
    const { tokens, rowState } = state;
    const start = {
      row,
      firstPosition: tokens.length,
      newTokens: chunk[row].length,
      phase,
      rowState,
    };
    rules.beginChunk?.(start);
    state.keepsLayerState = state.mayKeepQueries && (rules.keepsLayerState?.(start) ?? false);
  }

  #appendRow(table: SlotTable, row: number, chunk: ChunkOutputs, steps: CacheStep[]): void {
    const { policy, rules, store, rows, cacheLength, keySums } = this.#cache;
    const { tokens, ropePosition } = rows[row];
    const view = this.#view;
    view.load(table, row, chunk, rows[row], store.limits.at(table, tokens.length + chunk.tokens[row].length));
    const rests = rules.rests?.(view) ?? false;
    if (!rests) for (const group of view.groups) if (group.isInPlace) store.saveState(table, row, group.index);
    keySums?.observe(view, table, rows[row].keySums);
    rules.observe?.(view);
    hideUnseen(view);
    const { window } = view.layerShape;
    for (const group of view.groups) group.visible = window === null ? group.length : group.kept;
    if (this.#overflows(view)) {
      if (!rules.evicts) throw cacheFull(cacheLength, tokens.length, view.newTokens);
      rules.select(view);
      if (this.#overflows(view))
        throw new GraphError(`the policy ${policy} leaves more than the budget of ${view.budget} slots`);
    }
    keySums?.settle(view, table, rows[row].keySums);
    this.#plan.make(view, rests);
    for (const { index, visible } of view.groups)
      table.evicted[table.groupIndex(row, index)] += visible - this.#plan.groups[index].kept;
    if (this.events.wanted) steps.push(this.events.describe(view, table));
    store.apply(this.#plan, table, row, chunk, tokens.length, ropePosition);
  }

  #overflows(view: LayerView): boolean {
    const { rules, cacheLength } = this.#cache;
    if (rules.startsWhole && view.lastPosition < cacheLength) return false;
    if (rules.overflows) return rules.overflows(view);
    return view.groups.some((group) => group.length > group.budget && group.kept > group.budget);
  }
}

/** Evicts what a window hides from every later query, whatever the policy says. */
function hideUnseen({ layerShape, lastPosition, groups }: LayerView): void {
  if (layerShape.window === null) return;
  const oldest = lastPosition + 2 - layerShape.window;
  for (const group of groups) {
    const { positions, length } = group;
    for (let j = 0; j < length; j++) if (positions[j] < oldest) group.evict(j);
  }
}
