/**
 * @file The memory of a cache as one object: slot tables, buffers, recurrent states and encoder states, for all rows.
 */
import { range } from '../../util/numbers.ts';
import type { SlotBuffer } from '../buffers/slot-buffer.ts';
import { type BufferChoice, createBuffer, holdsBlocks } from '../buffers.ts';
import type { PolicyLayout } from '../policy/policy.ts';
import type { ChunkOutputs } from '../rows/chunk.ts';
import type { CacheShape } from '../shape.ts';
import { CrossAttentionStates } from '../states/cross-attention-states.ts';
import { RecurrentStates } from '../states/recurrent-states.ts';
import { LayerGroup } from './layer-group.ts';
import type { StepPlan } from './plan.ts';
import { budgetsOf, SlotLimits } from './slot-limits.ts';
import { layerGroupOf, SlotTable } from './slots.ts';
import { groupedParts, partName, type TablePart } from './table-parts.ts';
import { TableUndo } from './undo.ts';

/** What a store is made for. */
export interface StoreSpec {
  readonly shape: CacheShape;
  readonly layout: PolicyLayout;
  readonly cacheLength: number;
  readonly buffer: BufferChoice;
  /** Slots by which the memory grows. */
  readonly growth: number;
  /** Most slots that a group of a table can come to hold, where its budget is fixed. */
  readonly maxSlots: (table: SlotTable, group: number) => number;
  /** Slots beyond the budget that a chunk may be written to before tokens go. @default 0 */
  readonly spare?: number;
  /** Whether the groups of a layer share its budget, so that they differ in their slots. @default false */
  readonly sharesBudget?: boolean;
}

/** How a step reads a layer whose groups differ in their slots. */
export interface LayerParts {
  readonly parts: readonly TablePart[];
  /** See {@link SlotTable.gathers}. */
  readonly gathers: boolean;
}

export class SlotStore {
  readonly spec: StoreSpec;
  /** By name of the layer group. */
  readonly tables: ReadonlyMap<string, SlotTable>;
  /** Per layer: name of its layer group; empty where it holds no slots. */
  readonly layerGroups: readonly string[];
  /** Of layers whose groups differ in their slots: what a step reads together. */
  readonly parts: ReadonlyMap<number, LayerParts>;
  /** By layer. */
  readonly buffers: readonly (SlotBuffer | null)[];
  readonly states: RecurrentStates;
  readonly crossAttention: CrossAttentionStates;
  /** How many slots groups may have. */
  readonly limits: SlotLimits;
  /** How long a row is known to become. */
  expectedLength = 0;
  #batch: number;
  /** By name. */
  readonly #stored: ReadonlyMap<string, LayerGroup>;
  #undo: Map<SlotTable, TableUndo> | null = null;

  /** @param from a store to share the content of; empty otherwise. */
  constructor(spec: StoreSpec, batch: number, from?: SlotStore) {
    const { shape, layout, buffer } = spec;
    this.spec = spec;
    this.#batch = batch;
    this.layerGroups = shape.layers.map(({ slots, window }, l) =>
      slots ? layerGroupOf(window, l, layout.sharing) : '',
    );
    const names = new Set(this.layerGroups.filter((name) => name !== ''));
    this.tables = new Map([...names].map((name) => [name, from?.tables.get(name)?.fork() ?? this.#makeTable(name)]));
    const ragged = [...this.tables.values()].filter((table) => table.ragged);
    this.parts = new Map(
      ragged.flatMap(({ layers, parts, gathers }) => layers.map((l) => [l, { parts, gathers }] as const)),
    );
    this.buffers = shape.layers.map((layer, l) => {
      if (!layer.slots) return null;
      return (
        from?.buffers[l]?.fork() ?? createBuffer(buffer, batch, layer, shape.memory, (g) => layout.feedbackOf?.(l, g))
      );
    });
    const stored = [...this.tables.values()].map(
      (table) =>
        new LayerGroup(
          table,
          table.layers.map((l) => this.buffers[l]!),
        ),
    );
    this.#stored = new Map(stored.map((layerGroup) => [layerGroup.table.name, layerGroup]));
    const slotBytes = (table: SlotTable, g: number) => this.#bytesOf(table, g) + 4 + table.slotStateBytes;
    const { followsLength } = layout;
    this.limits = new SlotLimits([...this.tables.values()], { ...spec, followsLength, slotBytes });
    this.states = new RecurrentStates(batch, shape);
    this.crossAttention = new CrossAttentionStates(batch, shape);
    if (!from) return;
    this.states.share(from.states);
    this.crossAttention.share(from.crossAttention);
    this.expectedLength = from.expectedLength;
  }

  get batch(): number {
    return this.#batch;
  }

  /**
   * A store with the same content; the memory is shared until one of them writes. The last chunk can be taken back here
   * only.
   */
  fork(): SlotStore {
    return new SlotStore(this.spec, this.#batch, this);
  }

  /** The table that a layer's slots are in; undefined where it has none. */
  tableOf(layer: number): SlotTable | undefined {
    return this.tables.get(this.layerGroups[layer]);
  }

  /** To be called before any write. */
  own(): void {
    for (const table of this.tables.values()) table.own();
    for (const buffer of this.buffers) buffer?.own();
    this.states.own();
  }

  /**
   * Makes at least one slot, for operators don't like a dimension of 0.
   * @param tokens memory for so many more of each row is made, as far as limits and spare slots allow.
   * @param length of the rows.
   */
  open(tokens = 0, length = 0): void {
    for (const layerGroup of this.#stored.values()) {
      const { batch, filled } = layerGroup.table;
      const most = (g: number) => Math.max(...range(batch).map((row) => filled[layerGroup.table.groupIndex(row, g)]));
      const limits = this.limits.memoryFor(layerGroup.table, length + tokens, batch);
      const wanted = (g: number) => Math.max(1, this.limits.withChunk(limits[g], most(g) + tokens));
      this.#grow(layerGroup, tokens === 0 ? () => 1 : wanted, limits, tokens === 0 ? 1 : this.spec.growth);
    }
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    this.own();
    for (const row of range(this.#batch)) this.clearRow(row);
    for (const layerGroup of this.#stored.values()) {
      layerGroup.resize(this.#batch, 0);
      layerGroup.table.trimRopePositions();
    }
    this.expectedLength = 0;
    this.#undo = null;
  }

  clearRow(row: number): void {
    this.own();
    for (const layerGroup of this.#stored.values())
      for (let g = 0; g < layerGroup.table.groups; g++) {
        layerGroup.free(row, g, 0);
        layerGroup.table.evicted[layerGroup.table.groupIndex(row, g)] = 0;
      }
    this.states.clearRow(row);
    this.crossAttention.clearRow(row);
  }

  /** Changes the number of rows: the first ones stay, new ones are empty. No chunk can be taken back afterwards. */
  setBatch(batch: number): void {
    for (let row = batch; row < this.#batch; row++) this.clearRow(row);
    this.#batch = batch;
    for (const layerGroup of this.#stored.values()) layerGroup.resize(batch, layerGroup.table.capacities);
    this.states.setBatch(batch);
    this.crossAttention.setBatch(batch);
    this.#undo = null;
  }

  /** Copies a row from another store of the same layout, or from this one. */
  copyRow(source: SlotStore, from: number, to: number): void {
    this.own();
    for (const [name, layerGroup] of this.#stored) {
      const other = source.#stored.get(name)!;
      const { filled } = other.table;
      this.#grow(layerGroup, (g) => filled[other.table.groupIndex(from, g)], this.limits.most(layerGroup.table), 1);
      layerGroup.copyRow(other, from, to);
      // What the row was copied onto may have had more slots of a group that follows the length.
      if (this.limits.followLength && this.#batch === 1) layerGroup.keepWithin([...layerGroup.table.filledOf(to)]);
    }
    this.states.copyRow(source.states, from, to);
    this.crossAttention.copyRow(source.crossAttention, from, to);
  }

  /** Gives memory back that no row needs any more, as after long rows have left. */
  trim(): void {
    this.own();
    for (const layerGroup of this.#stored.values()) layerGroup.shrink(this.spec.growth);
  }

  /**
   * Bytes of keys and values. What is reserved for more, and not used yet, does not count, and neither do spare slots.
   */
  get slotBytes(): number {
    return this.buffers.reduce((sum, buffer) => sum + (buffer?.bytes ?? 0), -this.spareBytes);
  }

  /** Bytes of slots beyond the budget. */
  get spareBytes(): number {
    return this.#batch * this.limits.beyond((table, g) => this.#bytesOf(table, g));
  }

  /** Most bytes that keys and values can ever take under this budget. */
  get maxSlotBytes(): number {
    return this.#batch * this.limits.mostOfAll((table, g) => this.#bytesOf(table, g), this.#batch === 1);
  }

  /** Bytes of tables, of spare slots, and of what it takes to take the last chunk back. */
  get tableBytes(): number {
    let bytes = this.states.undoBytes + this.spareBytes;
    for (const table of this.tables.values()) bytes += table.bytes + (this.#undo?.get(table)?.bytes ?? 0);
    return bytes;
  }

  /** A chunk begins for some rows: it will be possible to take it back. */
  begin(rows: readonly number[]): void {
    this.own();
    this.#undo ??= new Map(
      [...this.#stored.values()].map((layerGroup) => [layerGroup.table, new TableUndo(layerGroup)]),
    );
    for (const undo of this.#undo.values()) undo.begin(rows);
  }

  /**
   * Whether policies may change their numbers where they are: a budget in bytes has no space for what it takes to take
   * that back, unless they do change.
   */
  get lendsState(): boolean {
    return (this.spec.spare ?? 0) > 0;
  }

  /** To be called before a policy changes its numbers of a group where they are. */
  saveState(table: SlotTable, row: number, group: number): void {
    this.#undo!.get(table)!.saveState(row, group);
  }

  /** Carries a plan out for one row and table. @param ropePosition that the chunk's first key is rotated to. */
  apply(plan: StepPlan, table: SlotTable, row: number, chunk: ChunkOutputs, first: number, ropePosition: number): void {
    const undo = this.#undo!.get(table)!;
    const stored = this.#stored.get(table.name)!;
    for (const { group: g, held, slotState, isInPlace } of plan.groups)
      if (!plan.stateRests && !isInPlace && !table.hasState(row, g, slotState, held)) {
        undo.saveState(row, g);
        table.setState(row, g, slotState, held);
      }
    const limits = this.limits.memoryFor(table, first + chunk.tokens[row].length, this.#batch);
    this.#grow(stored, (g) => plan.groups[g].kept, limits);
    for (const { overwritten } of plan.groups) undo.reserve(overwritten);
    for (const group of plan.groups) {
      const { group: g, held, kept, length, moves, writes, slotState } = group;
      for (let slot = kept; slot < held; slot++) undo.save(row, g, slot);
      for (let i = 0; i < 2 * group.moveCount; i += 2) {
        undo.save(row, g, moves[i + 1]);
        stored.move(row, g, moves[i], moves[i + 1]);
      }
      for (let i = 0; i < 3 * group.writeCount; i += 3) {
        const [slot, token, count] = [writes[i], writes[i + 1], writes[i + 2]];
        for (let n = 0; n < count; n++) {
          undo.save(row, g, slot + n);
          table.put(row, g, slot + n, first + token + n, ropePosition + token + n);
          for (let c = 0; c < table.slotStates; c++)
            table.slotState[c].data[table.slotState[c].at(row, g, slot + n)] = slotState[c][held + token + n];
        }
        stored.write(row, g, slot, count, chunk, token);
      }
      for (const { candidate, key, value, logTokens } of group.merged) {
        const slot = group.slotOf(candidate);
        undo.save(row, g, slot);
        stored.replace(row, g, slot, key, value);
        const [state] = table.slotState;
        state.data[state.at(row, g, slot)] = logTokens;
      }
      if (kept < held) stored.free(row, g, kept);
      if (group.isInPlace) table.wipeState(row, g, Math.max(kept, held), length);
      table.filled[table.groupIndex(row, g)] = kept;
    }
    if (this.limits.followLength && limits.some((limit, g) => table.capacityOf(g) > limit)) stored.keepWithin(limits);
    else if (table.budgets.some((budget, g) => table.capacityOf(g) > budget)) stored.shrink(this.spec.growth);
  }

  /**
   * Forgets what the last chunk overwrote where that is more than so many slots of a group, or the policy's numbers of
   * all slots.
   * @param keepsState whether there is memory for these numbers. @returns whether it has.
   */
  dropUndo(slots: number, keepsState: boolean): boolean {
    const tooLong = [...(this.#undo?.values() ?? [])].some(
      (undo) => undo.slots > slots || (undo.keepsState && !keepsState),
    );
    if (tooLong) this.#undo = null;
    return tooLong;
  }

  /** Makes a row's slots what they were before the last chunk. */
  revert(row: number): void {
    this.own();
    for (const layerGroup of this.#stored.values()) {
      const undo = this.#undo!.get(layerGroup.table)!;
      // Memory may have been given back since.
      this.#grow(layerGroup, (g) => undo.slotsBefore(row, g), this.limits.most(layerGroup.table), 1);
      undo.revert(row);
    }
  }

  /**
   * Grows a table as a row of that length has grown it: a cache that is loaded computes the same bits as the one that
   * was saved.
   */
  ensure(table: SlotTable, slotsOf: (group: number) => number, length: number): void {
    this.#grow(this.#stored.get(table.name)!, slotsOf, this.limits.memoryFor(table, length, this.#batch));
  }

  /** Frees the slots of positions from `length` on. */
  dropFrom(row: number, length: number): void {
    this.own();
    for (const layerGroup of this.#stored.values()) layerGroup.freeFrom(row, length);
  }

  /** @param step slots by which memory grows. */
  #grow(
    layerGroup: LayerGroup,
    slotsOf: (group: number) => number,
    limits: readonly number[],
    step = this.spec.growth,
  ): void {
    const { growth } = this.spec;
    // A length that is no multiple of the growth would be outgrown by it: 93 MB were copied at the last chunk of a
    // prompt of 2,000.
    const expected = Math.ceil(this.expectedLength / growth) * growth;
    // Spare slots are part of it: all of the cache was copied when the first chunk was written to them, twice the
    // memory for a while.
    layerGroup.grow(slotsOf, { step, limits, expected, most: this.limits.withSpare(Math.max(...limits)) });
  }

  #bytesOf(table: SlotTable, group: number): number {
    return this.#stored.get(table.name)!.slotBytes(group);
  }

  #makeTable(name: string): SlotTable {
    const { shape, layout, cacheLength, buffer } = this.spec;
    const layers = range(shape.layers.length).filter((l) => this.layerGroups[l] === name);
    const [first] = layers;
    const { window } = shape.layers[first];
    const budgets = budgetsOf(layout, shape.layers[first], first, cacheLength);
    const merges = budgets.map((_, g) => layout.merges?.(first, g) ?? false);
    const differ = (each: readonly unknown[]) => each.some((one) => one !== each[0]);
    const isUneven = this.spec.sharesBudget || differ(budgets) || differ(merges);
    const ragged = budgets.length > 1 && isUneven;
    // Groups that share a budget come to differ as tokens come.
    const gathers = ragged && !this.spec.sharesBudget && holdsBlocks(buffer, shape.memory);
    const kinds = budgets.map((_, g) => `${merges[g]} ${layout.needsOf?.(first, g)}`);
    const parts = gathers ? groupedParts(budgets, kinds) : range(budgets.length).map((g) => [g]);
    return new SlotTable(this.#batch, {
      name,
      ragged,
      parts: ragged
        ? parts.map((groups, i) => ({ name: partName(name, i), groups }))
        : [{ name, groups: range(budgets.length) }],
      gathers,
      layers,
      groups: budgets.length,
      budgets,
      merges,
      window,
      slotStates: layout.slotStateOf?.(first) ?? layout.slotState,
      slotStateType: layout.slotStateType,
    });
  }
}
