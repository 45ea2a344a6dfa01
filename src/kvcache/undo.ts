/**
 * @file What the last chunk overwrote, so that it can be taken back.
 */
import { Plane } from './buffers/plane.ts';
import type { SlotBuffer } from './buffers/slot-buffer.ts';
import type { SlotTable } from './slots.ts';

/** The state of one table before the last chunk. */
export class TableUndo {
  readonly #table: SlotTable;
  /** Of the table's layers, in their order. */
  readonly #buffers: readonly SlotBuffer[];
  readonly #savedBuffers: readonly SlotBuffer[];
  readonly #state: readonly Plane<Float64Array>[];
  /** Per lane: the slots saved, and their positions. */
  readonly #slots: Plane<Float64Array>;
  readonly #positions: Plane<Float32Array>;
  readonly #places: Plane<Float32Array>;
  #counts = new Int32Array(0);
  #filled = new Int32Array(0);
  #evicted = new Int32Array(0);

  constructor(table: SlotTable, buffers: readonly SlotBuffer[]) {
    this.#table = table;
    this.#buffers = buffers;
    this.#savedBuffers = buffers.map((buffer) => buffer.create());
    this.#state = table.state.map(() => new Plane(Float64Array, table.batch, table.groups, 1));
    this.#slots = new Plane(Float64Array, table.batch, table.groups, 1);
    this.#positions = new Plane(Float32Array, table.batch, table.groups, 1);
    this.#places = new Plane(Float32Array, table.batch, table.groups, 1);
  }

  get bytes(): number {
    const buffers = this.#savedBuffers.reduce((sum, buffer) => sum + buffer.bytes, 0);
    const state = this.#state.reduce((sum, plane) => sum + plane.bytes, 0);
    return buffers + state + this.#slots.bytes + this.#positions.bytes + this.#places.bytes;
  }

  /** A new chunk begins for some rows: forgets the one before. */
  begin(rows: readonly number[]): void {
    const { batch, groups, capacity, filled, evicted, state } = this.#table;
    if (this.#filled.length !== filled.length) {
      this.#filled = new Int32Array(filled.length);
      this.#evicted = new Int32Array(filled.length);
      this.#counts = new Int32Array(filled.length);
      this.#resize(batch, this.#slots.capacity);
    }
    // Never smaller: what other rows had may be more than the table has now.
    for (const plane of this.#state) plane.resize(batch, Math.max(plane.capacity, capacity));
    for (const row of rows)
      for (let group = 0; group < groups; group++) {
        const lane = this.#table.lane(row, group);
        this.#filled[lane] = filled[lane];
        this.#evicted[lane] = evicted[lane];
        this.#counts[lane] = 0;
        state.forEach((plane, i) => {
          const at = plane.at(row, group);
          this.#state[i].data.set(plane.data.subarray(at, at + filled[lane]), this.#state[i].at(row, group));
        });
      }
  }

  /** Keeps what a slot holds, which is about to be overwritten. Slots that were free need no keeping. */
  save(row: number, group: number, slot: number): void {
    const table = this.#table;
    const lane = table.lane(row, group);
    if (slot >= this.#filled[lane]) return;
    const index = this.#counts[lane]++;
    if (index >= this.#slots.capacity) this.#resize(table.batch, Math.max(4, 2 * this.#slots.capacity));
    const at = this.#slots.at(row, group, index);
    const from = table.positions.at(row, group, slot);
    this.#slots.data[at] = slot;
    this.#positions.data[at] = table.positions.data[from];
    this.#places.data[at] = table.places.data[from];
    for (let i = 0; i < this.#buffers.length; i++)
      for (const g of groupsOf(table, group, this.#buffers[i]))
        this.#savedBuffers[i].copySlot(this.#buffers[i], row, g, slot, index);
  }

  /** The most slots that a group of a row had. */
  slotsBefore(row: number): number {
    let most = 0;
    for (let group = 0; group < this.#table.groups; group++)
      most = Math.max(most, this.#filled[this.#table.lane(row, group)]);
    return most;
  }

  /** Makes a row what it was. */
  revert(row: number): void {
    const table = this.#table;
    for (let group = 0; group < table.groups; group++) {
      const lane = table.lane(row, group);
      const before = this.#filled[lane];
      if (table.filled[lane] > before) {
        for (const buffer of this.#buffers)
          for (const g of groupsOf(table, group, buffer)) buffer.wipe(row, g, before, table.filled[lane]);
        table.free(row, group, before);
      }
      table.filled[lane] = before;
      table.evicted[lane] = this.#evicted[lane];
      // Backwards: of a slot that was overwritten twice the first content counts.
      for (let index = this.#counts[lane] - 1; index >= 0; index--) {
        const at = this.#slots.at(row, group, index);
        const slot = this.#slots.data[at];
        table.put(row, group, slot, this.#positions.data[at], this.#places.data[at]);
        for (let i = 0; i < this.#buffers.length; i++)
          for (const g of groupsOf(table, group, this.#buffers[i]))
            this.#buffers[i].copySlot(this.#savedBuffers[i], row, g, index, slot);
      }
      table.state.forEach((plane, i) => {
        const from = this.#state[i].at(row, group);
        plane.data.set(this.#state[i].data.subarray(from, from + before), plane.at(row, group));
      });
    }
  }

  #resize(batch: number, capacity: number): void {
    this.#slots.resize(batch, capacity);
    this.#positions.resize(batch, capacity);
    this.#places.resize(batch, capacity);
    for (const buffer of this.#savedBuffers) buffer.resize(batch, capacity);
  }
}

/** The groups of a buffer that a group of a table stands for: itself, or all of them. */
export function groupsOf(table: SlotTable, group: number, buffer: SlotBuffer): readonly number[] {
  return table.groups === 1 ? buffer.groups : buffer.alone[group];
}
