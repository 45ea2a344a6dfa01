/**
 * @file Slots: which token each of them holds. Layers that always hold the same positions share one table.
 */
import { range } from '../util/numbers.ts';
import { Plane, type PlaneData } from './buffers/plane.ts';

/** The position of a slot that holds nothing: negative, and before every window. */
export const EMPTY_SLOT = -1e9;

/** What is added to the attention scores of a slot that holds nothing: as good as -∞, and still a number. */
export const HIDDEN = -1e30;

/** `kind`: layers with a window share a table, and so do those without; `layer`: each layer has its own. */
export type ClassMode = 'kind' | 'layer';

/** The name of the table that a layer belongs to. */
export function slotClass(window: number | null, layer: number, mode: ClassMode): string {
  if (mode === 'layer') return String(layer);
  return window === null ? 'full' : 'window';
}

/** What a table is made for. */
export interface TableSpec {
  /** The class that its layers are of. */
  readonly name: string;
  readonly layers: readonly number[];
  /** 1 where all groups hold the same positions, else G. */
  readonly groups: number;
  /** Most slots that a group holds after a step. */
  readonly budget: number;
  /** The sliding window of these layers, or null. */
  readonly window: number | null;
  /** Numbers that the policy keeps for each slot, which move with it. The first is its score. */
  readonly columns: number;
}

/** The tokens held by one class of layers. */
export class SlotTable implements TableSpec {
  readonly name: string;
  readonly layers: readonly number[];
  readonly groups: number;
  readonly budget: number;
  readonly window: number | null;
  readonly columns: number;
  batch: number;
  /** Slots that exist now. */
  capacity = 0;
  /** Token positions; {@link EMPTY_SLOT} where a slot is free. float32, as the graph reads it. */
  readonly positions: Plane<Float32Array>;
  /** Where each token's key is rotated to: its position, until the row was rebased. */
  readonly places: Plane<Float32Array>;
  /** 0, or {@link HIDDEN} where a slot is free. */
  readonly hidden: Plane<Float32Array>;
  readonly state: readonly Plane<Float64Array>[];
  /** [batch, groups]: slots in use. They are always the first ones. */
  filled: Int32Array;
  /** [batch, groups]: tokens given up that a later query could have seen. */
  evicted: Int32Array;
  readonly #planes: readonly Plane<PlaneData>[];

  constructor(batch: number, spec: TableSpec) {
    this.name = spec.name;
    this.layers = spec.layers;
    this.groups = spec.groups;
    this.budget = spec.budget;
    this.window = spec.window;
    this.columns = spec.columns;
    this.batch = batch;
    this.positions = new Plane(Float32Array, batch, spec.groups, 1, EMPTY_SLOT);
    this.places = new Plane(Float32Array, batch, spec.groups, 1);
    this.hidden = new Plane(Float32Array, batch, spec.groups, 1, HIDDEN);
    this.state = range(spec.columns).map(() => new Plane(Float64Array, batch, spec.groups, 1));
    this.#planes = [this.positions, this.places, this.hidden, ...this.state];
    this.filled = new Int32Array(batch * spec.groups);
    this.evicted = new Int32Array(batch * spec.groups);
  }

  /** Index of a row and group in {@link filled} and {@link evicted}. */
  lane(row: number, group: number): number {
    return row * this.groups + group;
  }

  get bytes(): number {
    const planes = this.#planes.reduce((sum, plane) => sum + plane.bytes, 0);
    return planes + this.filled.byteLength + this.evicted.byteLength;
  }

  /** @param reserve slots to make room for where new memory is needed. */
  resize(batch: number, capacity: number, reserve = capacity): void {
    for (const plane of this.#planes) plane.resize(batch, capacity, reserve);
    if (batch !== this.batch) {
      this.filled = resized(this.filled, batch * this.groups);
      this.evicted = resized(this.evicted, batch * this.groups);
    }
    this.batch = batch;
    this.capacity = capacity;
  }

  own(): void {
    for (const plane of this.#planes) plane.own();
  }

  /** Says which token a slot holds. */
  put(row: number, group: number, slot: number, position: number, place: number): void {
    const at = this.positions.at(row, group, slot);
    this.positions.data[at] = position;
    this.places.data[at] = place;
    this.hidden.data[at] = 0;
  }

  /** Frees the slots from `start` on. */
  free(row: number, group: number, start: number): void {
    const lane = this.lane(row, group);
    for (const plane of this.#planes) plane.wipe(row, group, start, this.filled[lane]);
    this.filled[lane] = start;
  }

  /** Copies one slot onto another. */
  move(row: number, group: number, from: number, to: number): void {
    for (const plane of this.#planes) plane.copySlot(plane, row, group, from, to);
  }

  /** What is kept of the slots in use of a row and group, as it lies in memory: one array for each kind of number. */
  lanes(row: number, group: number): PlaneData[] {
    const count = this.filled[this.lane(row, group)];
    return this.#planes.map((plane) => plane.lane(row, group, count));
  }

  /** Takes a row over from another table of the same kind, whose capacity may be smaller. */
  copyRow(from: SlotTable, source: number, target: number): void {
    this.#planes.forEach((plane, i) => {
      plane.copyRow(from.#planes[i], source, target);
    });
    for (let g = 0; g < this.groups; g++) {
      this.filled[this.lane(target, g)] = from.filled[from.lane(source, g)];
      this.evicted[this.lane(target, g)] = from.evicted[from.lane(source, g)];
    }
  }

  /** A table with the same content; the memory is shared until one of them writes. */
  fork(): SlotTable {
    const twin = new SlotTable(this.batch, this);
    twin.#planes.forEach((plane, i) => {
      plane.share(this.#planes[i]);
    });
    twin.capacity = this.capacity;
    twin.filled = this.filled.slice();
    twin.evicted = this.evicted.slice();
    return twin;
  }
}

function resized(old: Int32Array, length: number): Int32Array {
  const next = new Int32Array(length);
  next.set(old.subarray(0, length));
  return next;
}
