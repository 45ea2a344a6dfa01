/**
 * @file What the last chunk overwrote, so that it can be taken back.
 */
import { type Capacity, SlotArray } from '../buffers/slot-array.ts';
import type { SlotBuffer } from '../buffers/slot-buffer.ts';
import { groupsOf, type LayerGroup } from './layer-group.ts';
import type { SlotTable } from './slots.ts';

/**
 * Slots of a group that a cache with a budget in bytes keeps of what its last chunk overwrote: enough for one token.
 */
export const KEPT_UNDO_SLOTS = 2;

/** The state of one table before the last chunk. */
export class TableUndo {
  readonly #table: SlotTable;
  /** Of the table's layers, in their order. */
  readonly #buffers: readonly SlotBuffer[];
  readonly #savedBuffers: readonly SlotBuffer[];
  /** The policy's numbers of all slots of a group: only of groups whose numbers the chunk has changed. */
  readonly #state: SlotTable['slotState'];
  #hasState = new Uint8Array(0);
  /** Per row and group: the slots saved, their positions, and the policy's numbers of them. */
  readonly #slots: SlotArray<Float64Array>;
  readonly #slotState: SlotTable['slotState'];
  readonly #positions: SlotArray<Float32Array>;
  readonly #ropePositions: SlotArray<Float32Array>;
  #counts = new Int32Array(0);
  #filled = new Int32Array(0);
  #evicted = new Int32Array(0);

  constructor({ table, buffers }: LayerGroup) {
    this.#table = table;
    this.#buffers = buffers;
    this.#savedBuffers = buffers.map((buffer) => buffer.create());
    this.#state = table.makeSlotState();
    this.#slotState = table.makeSlotState();
    this.#slots = new SlotArray(Float64Array, table.batch, table.groups, 1);
    this.#positions = new SlotArray(Float32Array, table.batch, table.groups, 1);
    this.#ropePositions = new SlotArray(Float32Array, table.batch, table.groups, 1);
  }

  get bytes(): number {
    const buffers = this.#savedBuffers.reduce((sum, buffer) => sum + buffer.bytes, 0);
    const state = [...this.#state, ...this.#slotState].reduce((sum, array) => sum + array.bytes, 0);
    return buffers + state + this.#slots.bytes + this.#positions.bytes + this.#ropePositions.bytes;
  }

  /** Slots that there is memory for. */
  get slots(): number {
    return this.#slots.capacity;
  }

  /** Whether it has memory for the policy's numbers of all slots. */
  get keepsState(): boolean {
    return this.#state.some((array) => array.capacity > 0);
  }

  /** A new chunk begins for some rows: forgets the one before. */
  begin(rows: readonly number[]): void {
    const { batch, groups, filled, evicted } = this.#table;
    if (this.#filled.length !== filled.length) {
      this.#filled = new Int32Array(filled.length);
      this.#evicted = new Int32Array(filled.length);
      this.#counts = new Int32Array(filled.length);
      this.#hasState = new Uint8Array(filled.length);
      this.#resize(batch, this.#slots.capacity);
    }
    for (const row of rows)
      for (let group = 0; group < groups; group++) {
        const index = this.#table.groupIndex(row, group);
        this.#filled[index] = filled[index];
        this.#evicted[index] = evicted[index];
        this.#counts[index] = 0;
        this.#hasState[index] = 0;
      }
  }

  /** Keeps the policy's numbers of a group, which are about to change. To be called before the group's slots change. */
  saveState(row: number, group: number): void {
    const { batch, capacities, slotState } = this.#table;
    const index = this.#table.groupIndex(row, group);
    this.#hasState[index] = 1;
    slotState.forEach((array, i) => {
      const kept = this.#state[i];
      // Of a row alone it is never more than the table has.
      if (batch === 1) kept.resize(batch, capacities);
      else if (kept.batch !== batch || kept.capacityOf(group) < this.#filled[index])
        kept.resize(batch, largest(kept, capacities));
      const at = array.at(row, group);
      kept.data.set(array.data.subarray(at, at + this.#filled[index]), kept.at(row, group));
    });
  }

  /** Makes memory for so many slots of each group, before they are given to {@link save}. */
  reserve(slots: number): void {
    if (slots > this.slots) this.#resize(this.#table.batch, Math.max(KEPT_UNDO_SLOTS, slots));
  }

  /** Keeps what a slot holds, which is about to be overwritten. Slots that were free need no keeping. */
  save(row: number, group: number, slot: number): void {
    const table = this.#table;
    const index = table.groupIndex(row, group);
    if (slot >= this.#filled[index]) return;
    const nth = this.#counts[index]++;
    const at = this.#slots.at(row, group, nth);
    this.#slots.data[at] = slot;
    this.#positions.data[at] = table.positions.data[table.positions.at(row, group, slot)];
    this.#ropePositions.data[at] = table.ropePosition(row, group, slot);
    if (this.#hasState[index] === 0)
      table.slotState.forEach((array, i) => {
        this.#slotState[i].data[at] = array.data[array.at(row, group, slot)];
      });
    for (let i = 0; i < this.#buffers.length; i++)
      for (const g of groupsOf(table, group, this.#buffers[i]))
        this.#savedBuffers[i].copySlot(this.#buffers[i], row, g, slot, nth);
  }

  /** The slots that a group of a row had. */
  slotsBefore(row: number, group: number): number {
    return this.#filled[this.#table.groupIndex(row, group)];
  }

  /** Makes a row what it was. */
  revert(row: number): void {
    const table = this.#table;
    for (let group = 0; group < table.groups; group++) {
      const index = table.groupIndex(row, group);
      const before = this.#filled[index];
      if (table.filled[index] > before) {
        for (const buffer of this.#buffers)
          for (const g of groupsOf(table, group, buffer)) buffer.wipe(row, g, before, table.filled[index]);
        table.free(row, group, before);
      }
      table.filled[index] = before;
      table.evicted[index] = this.#evicted[index];
      // Backwards: of a slot that was overwritten twice the first content counts.
      for (let nth = this.#counts[index] - 1; nth >= 0; nth--) {
        const at = this.#slots.at(row, group, nth);
        const slot = this.#slots.data[at];
        table.put(row, group, slot, this.#positions.data[at], this.#ropePositions.data[at]);
        if (this.#hasState[index] === 0)
          table.slotState.forEach((array, i) => {
            array.data[array.at(row, group, slot)] = this.#slotState[i].data[at];
          });
        for (let i = 0; i < this.#buffers.length; i++)
          for (const g of groupsOf(table, group, this.#buffers[i]))
            this.#buffers[i].copySlot(this.#savedBuffers[i], row, g, nth, slot);
      }
      // Where a policy failed, its numbers of the chunk's tokens are still there.
      table.wipeState(row, group, before, table.capacityOf(group));
      if (this.#hasState[index] === 0) continue;
      table.slotState.forEach((array, i) => {
        const from = this.#state[i].at(row, group);
        array.data.set(this.#state[i].data.subarray(from, from + before), array.at(row, group));
      });
    }
  }

  #resize(batch: number, capacity: number): void {
    this.#slots.resize(batch, capacity);
    this.#positions.resize(batch, capacity);
    this.#ropePositions.resize(batch, capacity);
    for (const array of this.#slotState) array.resize(batch, capacity);
    for (const buffer of this.#savedBuffers) buffer.resize(batch, capacity);
  }
}

/** A table's capacity, or an array's own where that is more: what other rows had may be more than the table has now. */
function largest(array: SlotTable['slotState'][number], capacities: Capacity): Capacity {
  if (typeof capacities === 'number') return Math.max(array.capacity, capacities);
  return capacities.map((slots, g) => Math.max(array.capacityOf(g), slots));
}
