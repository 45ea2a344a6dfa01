/**
 * @file A layer group in memory: its table of slots and the buffers of its layers, which change together.
 */
import { range } from '../../util/numbers.ts';
import type { Capacity } from '../buffers/slot-array.ts';
import type { SlotBuffer } from '../buffers/slot-buffer.ts';
import type { ChunkOutputs } from '../rows/chunk.ts';
import type { SlotTable } from './slots.ts';

/**
 * Memory is made for so many slots of a group at once (all rows together), as far as there may be as many: pages that
 * were never written take none, and what is outgrown is garbage for a while. A cache of 1,024 slots left 24 MB so at
 * 135M.
 */
const AHEAD = 2048;

/** How a table grows. */
export interface Growth {
  /** Slots by which memory grows. */
  readonly step: number;
  /** By group: most slots. */
  readonly limits: readonly number[];
  /** Slots that are known to be needed. */
  readonly expected: number;
  /** Most slots of a group that memory is made for ahead. */
  readonly most: number;
}

export class LayerGroup {
  readonly table: SlotTable;
  /** Of the table's layers, in their order. */
  readonly buffers: readonly SlotBuffer[];

  constructor(table: SlotTable, buffers: readonly SlotBuffer[]) {
    this.table = table;
    this.buffers = buffers;
  }

  /** Bytes of keys and values of a slot of a group, in all layers. */
  slotBytes(group: number): number {
    return this.buffers.reduce((sum, buffer) => sum + groupsOf(this.table, group, buffer).length * buffer.slotBytes, 0);
  }

  /**
   * Frees the slots from `start` on. What they held is wiped: readers look at whole arrays, and their results must
   * follow from what is held alone.
   */
  free(row: number, g: number, start: number): void {
    const end = this.table.filled[this.table.groupIndex(row, g)];
    for (const buffer of this.buffers)
      for (const group of groupsOf(this.table, g, buffer)) buffer.wipe(row, group, start, end);
    this.table.free(row, g, start);
  }

  /** Frees the slots of positions from `length` on. */
  freeFrom(row: number, length: number): void {
    const { positions, filled, groups } = this.table;
    for (let g = 0; g < groups; g++) {
      const at = positions.at(row, g);
      let slots = filled[this.table.groupIndex(row, g)];
      for (let slot = slots - 1; slot >= 0; slot--) {
        if (positions.data[at + slot] < length) continue;
        slots--;
        if (slot !== slots) this.move(row, g, slots, slot);
      }
      this.free(row, g, slots);
    }
  }

  /** Copies one slot onto another. */
  move(row: number, g: number, from: number, to: number): void {
    this.table.move(row, g, from, to);
    for (const buffer of this.buffers)
      for (const group of groupsOf(this.table, g, buffer)) buffer.copySlots(row, group, from, to, 1);
  }

  /** Writes keys and values of a chunk, from a token on, to slots that follow each other. */
  write(row: number, g: number, slot: number, count: number, chunk: ChunkOutputs, token: number): void {
    if (chunk.isPlaced) {
      this.#takePlaced(row, g, slot, count, this.table.filled[this.table.groupIndex(row, g)] + token);
      return;
    }
    const { keys, values, length } = chunk;
    const { layers } = this.table;
    for (let i = 0; i < layers.length; i++) {
      const [buffer, l] = [this.buffers[i], layers[i]];
      for (const group of groupsOf(this.table, g, buffer)) {
        const index = (row * buffer.groups.length + group) * length + token;
        buffer.keys.write(row, group, slot, count, keys[l]!, index * buffer.keys.size);
        // Latent attention: values are a part of the keys.
        const { size } = buffer.values;
        if (size > 0) buffer.values.write(row, group, slot, count, values[l]!, index * size);
      }
    }
  }

  /**
   * Writes another key and value, as they are stored, to a slot that is in use. The table has a group of its own for each
   * of the buffers'.
   */
  replace(row: number, g: number, slot: number, key: Float32Array, value: Float32Array): void {
    for (const { keys, values } of this.buffers) {
      (keys.rotated ?? keys).write(row, g, slot, 1, key, 0);
      if (values.size > 0) (values.rotated ?? values).write(row, g, slot, 1, value, 0);
    }
  }

  /** Keys and values that are in slots from `from` on, not before `slot`. */
  #takePlaced(row: number, g: number, slot: number, count: number, from: number): void {
    if (from === slot) return;
    for (const buffer of this.buffers)
      for (const group of groupsOf(this.table, g, buffer)) buffer.copySlots(row, group, from, slot, count);
  }

  /** Copies a row from another layer group of the same layout, or from this one. There must be memory for it. */
  copyRow(source: LayerGroup, from: number, to: number): void {
    this.table.copyRow(source.table, from, to);
    this.buffers.forEach((buffer, i) => {
      buffer.copyRow(source.buffers[i], from, to);
    });
  }

  /** @param reserve slots to allocate where new memory is needed. */
  resize(batch: number, capacity: Capacity, reserve?: number): void {
    this.table.resize(batch, capacity, reserve);
    for (const buffer of this.buffers) buffer.resize(batch, capacity, reserve);
  }

  /** Makes memory for so many slots of each group. */
  grow(slotsOf: (group: number) => number, { step, limits, expected, most }: Growth): void {
    const { table } = this;
    const all = range(table.groups);
    if (all.every((g) => slotsOf(g) <= table.capacityOf(g))) return;
    const wanted = all.map((g) => {
      const slots = slotsOf(g);
      if (slots <= table.capacityOf(g)) return table.capacityOf(g);
      return Math.max(slots, Math.min(limits[g], Math.ceil(slots / step) * step));
    });
    if (table.ragged) {
      this.resize(table.batch, wanted);
      return;
    }
    const capacity = Math.max(...wanted);
    // New memory has space for what is known to come, and a half more, but never for more than the budget and its spare
    // slots.
    const reserve = Math.min(most, Math.max(expected, Math.ceil(1.5 * capacity), Math.floor(AHEAD / table.batch)));
    this.resize(table.batch, capacity, reserve);
  }

  /** Gives memory back that was needed before the policy cut a layer down. @param step slots by which memory grows. */
  shrink(step: number): void {
    const { table } = this;
    const up = (slots: number) => Math.ceil(slots / step) * step;
    if (!table.ragged) {
      const capacity = up(Math.max(...table.filled));
      if (capacity + step < table.capacity) this.resize(table.batch, capacity);
      return;
    }
    const wanted = range(table.groups).map((g) => {
      const capacity = up(Math.max(...range(table.batch).map((row) => table.filled[table.groupIndex(row, g)])));
      return capacity + step < table.capacityOf(g) ? capacity : table.capacityOf(g);
    });
    if (wanted.some((capacity, g) => capacity < table.capacityOf(g))) this.resize(table.batch, wanted);
  }

  /** Gives memory back that groups may not have any more. */
  keepWithin(limits: readonly number[]): void {
    const { table } = this;
    const capacities = limits.map((limit, g) => Math.min(table.capacityOf(g), limit));
    this.resize(table.batch, table.ragged ? capacities : Math.max(...capacities));
  }
}

/** The groups of a buffer that a group of a table stands for: itself, or all of them. */
export function groupsOf(table: SlotTable, group: number, buffer: SlotBuffer): readonly number[] {
  return table.groups === 1 ? buffer.groups : buffer.alone[group];
}
