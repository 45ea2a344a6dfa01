/**
 * @file The memory of a cache as one object: slot tables, buffers, recurrent states and encoder states, for all rows.
 */
import { range } from '../util/numbers.ts';
import type { Capacity } from './buffers/slot-array.ts';
import type { SlotBuffer } from './buffers/slot-buffer.ts';
import { type BufferChoice, createBuffer } from './buffers.ts';
import type { ChunkOutputs } from './chunk.ts';
import type { StepPlan } from './plan.ts';
import type { PolicyLayout } from './policy.ts';
import type { CacheShape } from './shape.ts';
import { budgetsOf, SlotLimits } from './slot-limits.ts';
import { layerGroupOf, SlotTable } from './slots.ts';
import { CrossAttentionStates } from './states/cross-attention-states.ts';
import { RecurrentStates } from './states/recurrent-states.ts';
import { groupsOf, slotBytesOf, TableUndo } from './undo.ts';

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

export class SlotStore {
  readonly spec: StoreSpec;
  /** By name of the layer group. */
  readonly tables: ReadonlyMap<string, SlotTable>;
  /** Per layer: name of its layer group; empty where it holds no slots. */
  readonly layerGroups: readonly string[];
  /** By layer. */
  readonly buffers: readonly (SlotBuffer | null)[];
  readonly states: RecurrentStates;
  readonly crossAttention: CrossAttentionStates;
  /** How many slots groups may have. */
  readonly limits: SlotLimits;
  /** How long a row is known to become. */
  expectedLength = 0;
  #batch: number;
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
    this.buffers = shape.layers.map((layer, l) => {
      if (!layer.slots) return null;
      return from?.buffers[l]?.fork() ?? createBuffer(buffer, batch, layer, shape.memory);
    });
    const slotBytes = (table: SlotTable, g: number) => slotBytesOf(table, g, this.buffers) + 4 + table.slotStateBytes;
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

  /** A store with the same content; the memory is shared until one of them writes. The last chunk can be taken back here only. */
  fork(): SlotStore {
    return new SlotStore(this.spec, this.#batch, this);
  }

  /** The table that a layer's slots are in; undefined where it has none. */
  tableOf(layer: number): SlotTable | undefined {
    return this.tables.get(this.layerGroups[layer]);
  }

  /** Layers whose groups differ in their slots. */
  get raggedLayers(): ReadonlySet<number> {
    return new Set([...this.tables.values()].flatMap(({ ragged, layers }) => (ragged ? layers : [])));
  }

  /** To be called before any write. */
  own(): void {
    for (const table of this.tables.values()) table.own();
    for (const buffer of this.buffers) buffer?.own();
    this.states.own();
  }

  /**
   * Makes at least one slot, for operators don't like a dimension of 0.
   * @param tokens memory for so many more of each row is made, as far as limits and spare slots allow. @param length of the rows.
   */
  open(tokens = 0, length = 0): void {
    for (const table of this.tables.values()) {
      const { batch, filled } = table;
      const most = (g: number) => Math.max(...range(batch).map((row) => filled[table.groupIndex(row, g)]));
      const limits = this.limits.memoryFor(table, length + tokens, batch);
      const wanted = (g: number) => Math.max(1, this.limits.withChunk(limits[g], most(g) + tokens));
      this.#grow(table, tokens === 0 ? () => 1 : wanted, tokens === 0 ? 1 : this.spec.growth, limits);
    }
  }

  /** Forgets everything and gives the memory back. */
  clear(): void {
    this.own();
    for (const row of range(this.#batch)) this.clearRow(row);
    for (const table of this.tables.values()) {
      table.resize(this.#batch, 0);
      table.trimRopePositions();
    }
    for (const buffer of this.buffers) buffer?.resize(this.#batch, 0);
    this.expectedLength = 0;
    this.#undo = null;
  }

  clearRow(row: number): void {
    this.own();
    for (const table of this.tables.values())
      for (let g = 0; g < table.groups; g++) {
        this.freeSlots(table, row, g, 0);
        table.evicted[table.groupIndex(row, g)] = 0;
      }
    this.states.clearRow(row);
    this.crossAttention.clearRow(row);
  }

  /** Changes the number of rows: the first ones stay, new ones are empty. No chunk can be taken back afterwards. */
  setBatch(batch: number): void {
    for (let row = batch; row < this.#batch; row++) this.clearRow(row);
    this.#batch = batch;
    for (const table of this.tables.values()) this.#setCapacity(table, table.capacities);
    this.states.setBatch(batch);
    this.crossAttention.setBatch(batch);
    this.#undo = null;
  }

  /** Copies a row from another store of the same layout, or from this one. */
  copyRow(source: SlotStore, from: number, to: number): void {
    this.own();
    for (const [name, table] of this.tables) {
      const other = source.tables.get(name)!;
      this.#grow(table, (g) => other.filled[other.groupIndex(from, g)], 1);
      table.copyRow(other, from, to);
      for (const l of table.layers) this.buffers[l]!.copyRow(source.buffers[l]!, from, to);
      // What the row was copied onto may have had more slots of a group that follows the length.
      if (this.limits.followLength && this.#batch === 1) this.#keepWithin(table, [...table.filledOf(to)]);
    }
    this.states.copyRow(source.states, from, to);
    this.crossAttention.copyRow(source.crossAttention, from, to);
  }

  /** Gives memory back that no row needs any more, as after long rows have left. */
  trim(): void {
    this.own();
    for (const table of this.tables.values()) this.#shrink(table);
  }

  /** Bytes of keys and values. What is reserved for more, and not used yet, does not count, and neither do spare slots. */
  get slotBytes(): number {
    return this.buffers.reduce((sum, buffer) => sum + (buffer?.bytes ?? 0), -this.spareBytes);
  }

  /** Bytes of slots beyond the budget. */
  get spareBytes(): number {
    return this.#batch * this.limits.beyond((table, g) => slotBytesOf(table, g, this.buffers));
  }

  /** Most bytes that keys and values can ever take under this budget. */
  get maxSlotBytes(): number {
    return this.#batch * this.limits.mostOfAll((table, g) => slotBytesOf(table, g, this.buffers), this.#batch === 1);
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
      [...this.tables.values()].map((table) => [
        table,
        new TableUndo(
          table,
          table.layers.map((l) => this.buffers[l]!),
        ),
      ]),
    );
    for (const undo of this.#undo.values()) undo.begin(rows);
  }

  /** Carries a plan out for one row and table. @param ropePosition that the chunk's first key is rotated to. */
  apply(plan: StepPlan, table: SlotTable, row: number, chunk: ChunkOutputs, first: number, ropePosition: number): void {
    const undo = this.#undo!.get(table)!;
    for (const { group: g, held, slotState } of plan.groups)
      if (!table.hasState(row, g, slotState, held)) {
        undo.saveState(row, g);
        table.setState(row, g, slotState, held);
      }
    const limits = this.limits.memoryFor(table, first + chunk.tokens[row].length, this.#batch);
    this.#grow(table, (g) => plan.groups[g].kept, this.spec.growth, limits);
    for (const group of plan.groups) {
      const { group: g, held, kept, moves, writes, slotState } = group;
      for (let slot = kept; slot < held; slot++) undo.save(row, g, slot);
      for (let i = 0; i < 2 * group.moveCount; i += 2) {
        undo.save(row, g, moves[i + 1]);
        this.moveSlot(table, row, g, moves[i], moves[i + 1]);
      }
      for (let i = 0; i < 3 * group.writeCount; i += 3) {
        const [slot, token, count] = [writes[i], writes[i + 1], writes[i + 2]];
        for (let n = 0; n < count; n++) {
          undo.save(row, g, slot + n);
          table.put(row, g, slot + n, first + token + n, ropePosition + token + n);
          for (let c = 0; c < table.slotStates; c++)
            table.slotState[c].data[table.slotState[c].at(row, g, slot + n)] = slotState[c][held + token + n];
        }
        this.#write(table, row, g, slot, count, chunk, token);
      }
      if (kept < held) this.freeSlots(table, row, g, kept);
      table.filled[table.groupIndex(row, g)] = kept;
    }
    if (this.limits.followLength && limits.some((limit, g) => table.capacityOf(g) > limit))
      this.#keepWithin(table, limits);
    else if (table.budgets.some((budget, g) => table.capacityOf(g) > budget)) this.#shrink(table);
  }

  /**
   * Forgets what the last chunk overwrote where that is more than so many slots of a group, or the policy's numbers of all slots.
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
    for (const [table, undo] of this.#undo!) {
      // Memory may have been given back since.
      this.#grow(table, (g) => undo.slotsBefore(row, g), 1);
      undo.revert(row);
    }
  }

  /** Grows a table as a row of that length has grown it: a cache that is loaded computes the same bits as the one that was saved. */
  ensure(table: SlotTable, slotsOf: (group: number) => number, length: number): void {
    this.#grow(table, slotsOf, this.spec.growth, this.limits.memoryFor(table, length, this.#batch));
  }

  #grow(
    table: SlotTable,
    slotsOf: (group: number) => number,
    growth: number,
    limits: readonly number[] = this.limits.most(table),
  ): void {
    const wanted = range(table.groups).map((g) => {
      const slots = slotsOf(g);
      if (slots <= table.capacityOf(g)) return table.capacityOf(g);
      return Math.max(slots, Math.min(limits[g], Math.ceil(slots / growth) * growth));
    });
    if (wanted.every((slots, g) => slots <= table.capacityOf(g))) return;
    if (table.ragged) {
      this.#setCapacity(table, wanted);
      return;
    }
    const most = Math.max(...limits);
    const capacity = Math.max(...wanted);
    // New memory has space for what is known to come, and a half more, but never for more than the budget.
    // A length that is no multiple of the growth would be outgrown by it: 93 MB were copied at the last chunk of a prompt of 2,000.
    const expected = Math.ceil(this.expectedLength / this.spec.growth) * this.spec.growth;
    const reserve = Math.min(most, Math.max(expected, Math.ceil(1.5 * capacity)));
    this.#setCapacity(table, capacity, reserve);
  }

  /** Frees the slots of positions from `length` on. */
  dropFrom(row: number, length: number): void {
    this.own();
    for (const table of this.tables.values())
      for (let g = 0; g < table.groups; g++) {
        const at = table.positions.at(row, g);
        let slots = table.filled[table.groupIndex(row, g)];
        for (let slot = slots - 1; slot >= 0; slot--) {
          if (table.positions.data[at + slot] < length) continue;
          slots--;
          if (slot !== slots) this.moveSlot(table, row, g, slots, slot);
        }
        this.freeSlots(table, row, g, slots);
      }
  }

  /**
   * Frees the slots from `start` on, in all layers of a table. What they held is wiped: readers look at whole arrays, and their
   * results must follow from what is held alone.
   */
  freeSlots(table: SlotTable, row: number, g: number, start: number): void {
    const end = table.filled[table.groupIndex(row, g)];
    for (const l of table.layers)
      for (const group of groupsOf(table, g, this.buffers[l]!)) this.buffers[l]!.wipe(row, group, start, end);
    table.free(row, g, start);
  }

  /** Copies one slot onto another, in all layers of a table. */
  moveSlot(table: SlotTable, row: number, g: number, from: number, to: number): void {
    table.move(row, g, from, to);
    for (const l of table.layers)
      for (const group of groupsOf(table, g, this.buffers[l]!))
        this.buffers[l]!.copySlot(this.buffers[l]!, row, group, from, to);
  }

  #write(
    table: SlotTable,
    row: number,
    g: number,
    slot: number,
    count: number,
    { keys, values, length }: ChunkOutputs,
    token: number,
  ): void {
    for (const l of table.layers) {
      const buffer = this.buffers[l]!;
      for (const group of groupsOf(table, g, buffer)) {
        const index = (row * buffer.groups.length + group) * length + token;
        buffer.keys.write(row, group, slot, count, keys[l]!, index * buffer.keys.size);
        // Latent attention: values are a part of the keys.
        const { size } = buffer.values;
        if (size > 0) buffer.values.write(row, group, slot, count, values[l]!, index * size);
      }
    }
  }

  /** Gives memory back that was needed before the policy cut a layer down. */
  #shrink(table: SlotTable): void {
    const { growth } = this.spec;
    const fitting = (groups: readonly number[]) => {
      const filled = groups.flatMap((g) => range(this.#batch).map((row) => table.filled[table.groupIndex(row, g)]));
      return Math.ceil(Math.max(...filled) / growth) * growth;
    };
    const all = range(table.groups);
    if (!table.ragged) {
      const capacity = fitting(all);
      if (capacity + growth < table.capacity) this.#setCapacity(table, capacity);
      return;
    }
    const wanted = all.map((g) => {
      const capacity = fitting([g]);
      return capacity + growth < table.capacityOf(g) ? capacity : table.capacityOf(g);
    });
    if (wanted.some((capacity, g) => capacity < table.capacityOf(g))) this.#setCapacity(table, wanted);
  }

  /** Gives memory back that groups may not have any more. */
  #keepWithin(table: SlotTable, limits: readonly number[]): void {
    const capacities = limits.map((limit, g) => Math.min(table.capacityOf(g), limit));
    this.#setCapacity(table, table.ragged ? capacities : Math.max(...capacities));
  }

  #setCapacity(table: SlotTable, capacity: Capacity, reserve?: number): void {
    table.resize(this.#batch, capacity, reserve);
    for (const l of table.layers) this.buffers[l]!.resize(this.#batch, capacity, reserve);
  }

  #makeTable(name: string): SlotTable {
    const { shape, layout, cacheLength } = this.spec;
    const layers = range(shape.layers.length).filter((l) => this.layerGroups[l] === name);
    const [first] = layers;
    const { window } = shape.layers[first];
    const budgets = budgetsOf(layout, shape.layers[first], first, cacheLength);
    const isUneven = this.spec.sharesBudget || budgets.some((budget) => budget !== budgets[0]);
    return new SlotTable(this.#batch, {
      name,
      ragged: budgets.length > 1 && isUneven,
      layers,
      groups: budgets.length,
      budgets,
      window,
      slotStates: layout.slotStateOf?.(first) ?? layout.slotState,
      slotStateType: layout.slotStateType,
    });
  }
}
