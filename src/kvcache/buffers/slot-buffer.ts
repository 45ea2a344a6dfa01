/**
 * @file Where keys and values of one layer are kept: what the cache asks of a storage format, whatever it is.
 */
import { range } from '../../util/numbers.ts';
import type { Plane, PlaneData } from './plane.ts';

/** What the graph reads, [batch, groups, 1, capacity, width]. */
export interface BufferInput {
  /** The layer's number follows it in the input's name: `k`, `v`, `k.scale`, … */
  readonly name: string;
  readonly plane: Plane<PlaneData>;
}

/** One slot. */
export interface SlotPlace {
  row: number;
  group: number;
  slot: number;
}

/** Keys and values of one layer, in slots. A format says what planes it needs and how a token goes in and out. */
export abstract class SlotBuffer {
  /** D */
  readonly headSize: number;
  /** 0 … G - 1 */
  readonly groups: readonly number[];
  /** Each of them in a list of its own. */
  readonly alone: readonly (readonly number[])[];
  /** All that it consists of. */
  readonly inputs: readonly BufferInput[];

  /** @param planes by the names of the graph's inputs. */
  constructor(headSize: number, planes: Readonly<Record<string, Plane<PlaneData>>>) {
    this.headSize = headSize;
    this.groups = range(Object.values(planes)[0].groups);
    this.alone = this.groups.map((group) => [group]);
    this.inputs = Object.entries(planes).map(([name, plane]) => ({ name, plane }));
  }

  /**
   * Stores `count` tokens in consecutive slots.
   * @param source [..., D]: keys lie from index `keyAt` on, values from `valueAt` on.
   */
  abstract write(at: SlotPlace, count: number, source: Float32Array, keyAt: number, valueAt: number): void;

  /** The key that a slot holds, as the graph sees it. */
  abstract readKey(at: SlotPlace, out: Float32Array): void;
  abstract readValue(at: SlotPlace, out: Float32Array): void;

  /** The keys of a group's first `count` slots, behind each other [count, D]. */
  readKeys(row: number, group: number, count: number, out: Float32Array): void {
    const place = { row, group, slot: 0 };
    const D = this.headSize;
    for (; place.slot < count; place.slot++) this.readKey(place, out.subarray(place.slot * D, (place.slot + 1) * D));
  }

  /** What a key or value [D] at `from` will be once it is stored and read again. */
  abstract preview(source: Float32Array, from: number, which: 'key' | 'value', out: Float32Array): void;
  /** Puts another key into a slot, whose value stays. */
  abstract writeKey(at: SlotPlace, key: Float32Array): void;
  /** An empty buffer of the same format and sizes. */
  abstract create(): SlotBuffer;

  /** Bytes of all slots that there are. */
  get bytes(): number {
    return this.inputs.reduce((sum, { plane }) => sum + plane.bytes, 0);
  }

  /** Bytes of one slot of one group. */
  get slotBytes(): number {
    return this.inputs.reduce((sum, { plane }) => sum + plane.width * plane.data.BYTES_PER_ELEMENT, 0);
  }

  /** @param reserve slots to make room for where new memory is needed. */
  resize(batch: number, capacity: number, reserve = capacity): void {
    for (const { plane } of this.inputs) plane.resize(batch, capacity, reserve);
  }

  /** To be called before any write. */
  own(): void {
    for (const { plane } of this.inputs) plane.own();
  }

  /** Takes one slot over from this buffer, or from another of the same format. */
  copySlot(from: SlotBuffer, row: number, group: number, source: number, target: number): void {
    for (let i = 0; i < this.inputs.length; i++)
      this.inputs[i].plane.copySlot(from.inputs[i].plane, row, group, source, target);
  }

  /** Makes slots what they were before they were ever written. */
  wipe(row: number, group: number, start: number, end: number): void {
    for (const { plane } of this.inputs) plane.wipe(row, group, start, end);
  }

  /** Takes a row over from another buffer of the same format. */
  copyRow(from: SlotBuffer, source: number, target: number): void {
    this.inputs.forEach(({ plane }, i) => {
      plane.copyRow(from.inputs[i].plane, source, target);
    });
  }

  /** The first `count` slots of a row and group, as they lie in memory: one array for each plane. */
  lanes(row: number, group: number, count: number): PlaneData[] {
    return this.inputs.map(({ plane }) => plane.lane(row, group, count));
  }

  /** A buffer with the same content; the memory is shared until one of them writes. */
  fork(): SlotBuffer {
    const twin = this.create();
    this.inputs.forEach(({ plane }, i) => {
      twin.inputs[i].plane.share(plane);
    });
    return twin;
  }
}
