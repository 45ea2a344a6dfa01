/**
 * @file A policy as a part of another one: it is given its own numbers, its own weights, and the groups that are its
 * own.
 */
import type { SlotStateType } from '../slots/slots.ts';
import { checkValues, rankBy, rests } from './frame.ts';
import type { GroupView } from './group-view.ts';
import type { Need } from './needs.ts';
import type { ChunkStart, PolicyEntry, PolicyRules, PolicySetup } from './policy.ts';
import type { LayerView } from './view.ts';

/** What a part is given of one layer, and of which. */
interface OwnView {
  readonly layer: number;
  readonly row: number;
  readonly chunk: LayerView['chunk'];
  readonly view: LayerView;
}

/** Where a part's numbers begin among those of all parts. */
export interface PartOffsets {
  readonly slotState: number;
  readonly rowState: number;
  /** By layer. */
  readonly layerState: readonly number[];
}

export class PolicyPart {
  readonly name: string;
  readonly rules: PolicyRules;
  readonly #offsets: PartOffsets;
  /** The groups of a layer that are its own, by their indices; null: all. */
  readonly #members: ((layer: number) => readonly number[]) | null;
  /** What it is given in place of the groups, and which of their weights. */
  readonly #groups = new WeakMap<GroupView, { readonly view: GroupView; readonly weightsAt: readonly number[] }>();
  /**
   * Of the layer that was observed last: groups are ranked one by one, and making it for each took 0.6 ms of a step of
   * 128 groups.
   */
  #last: OwnView | null = null;
  /** What all parts need: the order of `group.weights`. */
  #needs: readonly Need[] = [];

  constructor(
    entry: PolicyEntry,
    setup: PolicySetup,
    offsets: PartOffsets,
    members: ((layer: number) => readonly number[]) | null = null,
  ) {
    this.name = entry.name;
    this.rules = entry.rules!(members ? { ...setup, shape: shapeOf(setup, members) } : setup);
    this.#offsets = offsets;
    this.#members = members;
  }

  /** Says what is needed of the attention by all parts together. */
  setNeeds(needs: readonly Need[]): void {
    this.#needs = needs;
  }

  beginChunk(chunk: ChunkStart): void {
    this.rules.beginChunk?.(this.#startOf(chunk));
  }

  keepsLayerState(chunk: ChunkStart): boolean {
    const { keepsLayerState, layerState } = this.rules;
    return keepsLayerState?.(this.#startOf(chunk)) ?? layerState === undefined;
  }

  #startOf(chunk: ChunkStart): ChunkStart {
    const from = this.#offsets.rowState;
    return { ...chunk, rowState: chunk.rowState.subarray(from, from + (this.rules.rowState ?? 0)) };
  }

  /** What the part is given of a layer. */
  #viewOf(layer: LayerView): LayerView {
    const last = this.#last;
    const isLast = last?.layer === layer.layer && last.row === layer.row && last.chunk === layer.chunk;
    return isLast ? last.view : this.#makeView(layer);
  }

  #makeView(layer: LayerView): LayerView {
    const { rules } = this;
    const { rowState } = this.#offsets;
    const from = this.#offsets.layerState[layer.layer];
    const to = from + (rules.layerState?.(layer.layer) ?? 0);
    const members = this.#members?.(layer.layer);
    const groups = members ? members.map((g) => layer.groups[g]) : layer.groups;
    const layerState = layer.layerState.subarray(from, to);
    const isKept = layer.nextLayerState === layer.layerState;
    const own = {
      rowState: layer.rowState.subarray(rowState, rowState + (rules.rowState ?? 0)),
      layerState,
      nextLayerState: isKept ? layerState : layer.nextLayerState.subarray(from, to),
      groups: groups.map((group, i) => this.#groupOf(group, members ? i : group.index)),
    };
    const view = Object.assign(Object.create(layer) as LayerView, own);
    this.#last = { layer: layer.layer, row: layer.row, chunk: layer.chunk, view };
    return view;
  }

  /** Brings the part's numbers up to date, and keeps the values that it returns. */
  observe(layer: LayerView): void {
    this.#last = null;
    if (rests(this.rules, layer)) return;
    const own = this.#makeView(layer);
    if (own.groups.length === 0) return;
    this.rules.observe?.(own);
    for (const group of own.groups) {
      const given = this.rules.score?.(group, own);
      group.ranked = given !== undefined;
      if (!given) continue;
      checkValues(this.name, given, group.length);
      if (given !== group.values) for (let j = 0; j < group.length; j++) group.values[j] = given[j];
    }
  }

  /**
   * The values by which the part ranks a group's candidates: the group's own where the part has members.
   * @param nth which of the part's own groups it is. */
  values(layer: LayerView, nth: number): Float64Array {
    const own = this.#viewOf(layer);
    const group = own.groups[nth];
    if (!group.ranked) rankBy(this.rules, group, own);
    return group.values;
  }

  /** Merges what was evicted of a group. @param nth which of the part's own groups it is. */
  merge(layer: LayerView, nth: number): void {
    const own = this.#viewOf(layer);
    this.rules.merge?.(own.groups[nth], own);
  }

  #groupOf(group: GroupView, index: number): GroupView {
    const { rules } = this;
    let own = this.#groups.get(group);
    if (!own) {
      own = { view: group.makePart(), weightsAt: (rules.needs ?? []).map((need) => this.#needs.indexOf(need)) };
      this.#groups.set(group, own);
    }
    const { view, weightsAt } = own;
    view.follow();
    view.index = index;
    // A group of a part that has members is ranked by no other.
    if (this.#members) view.values = group.values;
    else if (view.values.length < group.length) view.values = new Float64Array(group.values.length);
    const from = this.#offsets.slotState;
    const to = Math.min(from + (rules.slotState ?? 1), group.slotState.length);
    view.slotState.length = 0;
    for (let c = from; c < to; c++) view.slotState.push(group.slotState[c]);
    for (let i = 0; i < weightsAt.length; i++) view.weights[i] = group.weights[weightsAt[i]];
    return view;
  }
}

/** The numbers of several parts: those of one lie behind those of the part before. */
export class PartStates {
  slotState = 0;
  rowState = 0;
  readonly layerState: number[];

  constructor(layers: number) {
    this.layerState = new Array<number>(layers).fill(0);
  }

  /** Where the numbers of the next part begin. */
  get next(): PartOffsets {
    return { slotState: this.slotState, rowState: this.rowState, layerState: [...this.layerState] };
  }

  /** @param has whether the part has slots in a layer. */
  add({ rules }: PolicyPart, has: (layer: number) => boolean): void {
    this.slotState += rules.slotState ?? 1;
    this.rowState += rules.rowState ?? 0;
    for (const l of this.layerState.keys()) if (has(l)) this.layerState[l] += rules.layerState?.(l) ?? 0;
  }
}

/** What a policy of parts asks for: all that one of them does. */
export function rulesOfAll(parts: readonly PolicyPart[], { rowState, layerState }: PartStates) {
  const all = parts.map(({ rules }) => rules);
  const needs = [...new Set(all.flatMap((rules) => rules.needs ?? []))];
  for (const part of parts) part.setNeeds(needs);
  return {
    needs,
    reads: all.some((rules) => rules.reads ?? true),
    readsSingles: all.some((rules) => rules.readsSingles ?? rules.reads ?? true),
    needsAlongMean: all.some((rules) => rules.needsAlongMean),
    rowState,
    layerState: (layer) => layerState[layer],
    scoredByLater: all.some((rules) => rules.scoredByLater ?? true),
    scoresDecode: all.some((rules) => rules.scoresDecode ?? rules.scoredByLater ?? true),
    refreshes: all.some((rules) => rules.refreshes),
    beginChunk: (chunk) => {
      for (const part of parts) part.beginChunk(chunk);
    },
    keepsLayerState: (chunk) => parts.every((part) => part.keepsLayerState(chunk)),
    mostKeptChunks: Math.max(0, ...all.map((rules) => rules.mostKeptChunks ?? 0)),
  } satisfies PolicyRules;
}

/** How numbers are stored that several parts share: float32 where that is enough for all of them. */
export function commonStateType(parts: readonly PolicyPart[]): SlotStateType {
  const stored = parts.filter(({ rules }) => rules.slotState !== 0);
  return stored.every(({ rules }) => rules.slotStateType === 'float32') ? 'float32' : 'float64';
}

/** The shape of a part's own groups. */
function shapeOf({ shape }: PolicySetup, members: (layer: number) => readonly number[]): PolicySetup['shape'] {
  const layers = shape.layers.map((layer, l) => {
    const groups = members(l).length;
    if (!layer.slots || groups === 0) return { ...layer, slots: false, groups: 0, heads: 0 };
    return { ...layer, groups, heads: (layer.heads / layer.groups) * groups };
  });
  return { ...shape, layers };
}
