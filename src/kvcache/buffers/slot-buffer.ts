/**
 * @file Where keys and values of one layer are kept: two codecs, one for each half.
 */
import { range } from '../../util/numbers.ts';
import type { Capacity, SlotArray, SlotData } from './slot-array.ts';
import type { SlotCodec } from './slot-codec.ts';

/** What the graph reads, [batch, groups, 1, capacity, width]. */
export interface BufferInput {
  /** The layer's number follows it in the input's name: `k`, `v`, `k.scale`, … */
  readonly name: string;
  readonly array: SlotArray<SlotData>;
}

/** One slot. */
export interface SlotAddress {
  row: number;
  group: number;
  slot: number;
}

/** Keys and values of one layer, in slots. */
export class SlotBuffer {
  readonly keys: SlotCodec;
  readonly values: SlotCodec;
  /** 0 … G - 1 */
  readonly groups: readonly number[];
  /** Each of them in a list of its own. */
  readonly alone: readonly (readonly number[])[];
  /** All that it consists of. */
  readonly inputs: readonly BufferInput[];

  constructor(keys: SlotCodec, values: SlotCodec) {
    this.keys = keys;
    this.values = values;
    this.groups = range(keys.groups);
    this.alone = this.groups.map((group) => [group]);
    this.inputs = [
      ...keys.arrays.map(({ suffix, array }) => ({ name: `k${suffix}`, array })),
      ...values.arrays.map(({ suffix, array }) => ({ name: `v${suffix}`, array })),
    ];
  }

  /**
   * Stores `count` tokens in consecutive slots.
   * @param keys of the tokens, from index `keyAt` on; `values` likewise.
   */
  write(
    { row, group, slot }: SlotAddress,
    count: number,
    keys: Float32Array,
    keyAt: number,
    values: Float32Array,
    valueAt: number,
  ): void {
    this.keys.write(row, group, slot, count, keys, keyAt);
    this.values.write(row, group, slot, count, values, valueAt);
  }

  /** The key that a slot holds, as attention sees it. */
  readKey({ row, group, slot }: SlotAddress, out: Float32Array): void {
    this.keys.read(row, group, slot, out);
  }

  readValue({ row, group, slot }: SlotAddress, out: Float32Array): void {
    this.values.read(row, group, slot, out);
  }

  /** Replaces the key of a slot, whose value stays. */
  writeKey({ row, group, slot }: SlotAddress, key: Float32Array): void {
    this.keys.write(row, group, slot, 1, key, 0);
  }

  /** Bytes of all slots that there are. */
  get bytes(): number {
    return this.inputs.reduce((sum, { array }) => sum + array.bytes, 0);
  }

  /** Bytes of one slot of one group. */
  get slotBytes(): number {
    return this.inputs.reduce((sum, { array }) => sum + array.slotBytes, 0);
  }

  /** @param reserve slots to allocate where new memory is needed. */
  resize(batch: number, capacity: Capacity, reserve?: number): void {
    for (const { array } of this.inputs) array.resize(batch, capacity, reserve);
  }

  /** To be called before any write. */
  own(): void {
    for (const { array } of this.inputs) array.own();
  }

  /** Copies one slot from this buffer, or from another of the same format. */
  copySlot(from: SlotBuffer, row: number, group: number, source: number, target: number): void {
    for (let i = 0; i < this.inputs.length; i++)
      this.inputs[i].array.copySlot(from.inputs[i].array, row, group, source, target);
  }

  /** Copies `count` slots behind each other to others of this buffer, which may overlap them. */
  copySlots(row: number, group: number, source: number, target: number, count: number): void {
    for (let i = 0; i < this.inputs.length; i++) this.inputs[i].array.copySlots(row, group, source, target, count);
  }

  /** Makes slots what they were before they were ever written. */
  wipe(row: number, group: number, start: number, end: number): void {
    for (const { array } of this.inputs) array.wipe(row, group, start, end);
  }

  /** Copies a row from another buffer of the same format. */
  copyRow(from: SlotBuffer, source: number, target: number): void {
    this.inputs.forEach(({ array }, i) => {
      array.copyRow(from.inputs[i].array, source, target);
    });
  }

  /** Views of the first `count` slots of a row and group: one for each array. */
  slotViews(row: number, group: number, count: number): SlotData[] {
    return this.inputs.map(({ array }) => array.slotView(row, group, count));
  }

  /** An empty buffer of the same format and sizes. */
  create(): SlotBuffer {
    return new SlotBuffer(this.keys.create(), this.values.create());
  }

  /** A buffer with the same content; the memory is shared until one of them writes. */
  fork(): SlotBuffer {
    const twin = this.create();
    this.inputs.forEach(({ array }, i) => {
      twin.inputs[i].array.share(array);
    });
    return twin;
  }
}
