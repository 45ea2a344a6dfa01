/**
 * @file Slots: which token each of them holds. Layers that always hold the same positions share one table.
 */
import { range } from '../../util/numbers.ts';
import { type Capacity, SlotArray, type SlotData } from '../buffers/slot-array.ts';
import { FILL, type TablePart } from './table-parts.ts';

/** The position of a slot that holds nothing: negative, and before every window. */
export const EMPTY_SLOT = -1e9;

/** What is added to the attention scores of what a query does not see: as good as -∞, and still a number. */
export const HIDDEN = -1e30;

/** How the policy's numbers of each slot are stored. */
export type SlotStateType = 'float32' | 'float64';

type SlotState = Float32Array | Float64Array;

const SLOT_STATES = { float32: Float32Array, float64: Float64Array } as const;

/** Which layers share a table: those with the same window, or none. */
export type SlotSharing = 'by-window' | 'none';

/** The name of the layer group (the table) that a layer belongs to: `full`, `window.W`, or the layer's number. */
export function layerGroupOf(window: number | null, layer: number, sharing: SlotSharing): string {
  if (sharing === 'none') return String(layer);
  return window === null ? 'full' : `window.${window}`;
}

/** What a table is made for. */
export interface TableSpec {
  /** The layer group that its layers are of. */
  readonly name: string;
  readonly layers: readonly number[];
  /** 1 where all groups hold the same positions, else G. */
  readonly groups: number;
  /** Per group: most slots that it holds after a step. */
  readonly budgets: readonly number[];
  /** The sliding window of these layers, or null. */
  readonly window: number | null;
  /** Numbers that the policy keeps for each slot, which move with it. The first is its score. */
  readonly slotStates: number;
  /** @default 'float64' */
  readonly slotStateType?: SlotStateType;
  /** Per group: whether its slots may stand for several tokens. @default none do */
  readonly merges?: readonly boolean[];
  /** Whether each group has memory for its own slots, not for as many as the longest group. @default false */
  readonly ragged?: boolean;
  /** What a step reads together: all groups, or some of them where groups differ in their slots. */
  readonly parts: readonly TablePart[];
  /** Whether a step gathers the slots of a part's groups, filled up to as many each. @default false */
  readonly gathers?: boolean;
}

/** The tokens held by one layer group. */
export class SlotTable implements TableSpec {
  readonly name: string;
  readonly layers: readonly number[];
  readonly groups: number;
  readonly budgets: readonly number[];
  /** The largest of the groups' budgets. */
  readonly budget: number;
  readonly window: number | null;
  readonly slotStates: number;
  readonly slotStateType: SlotStateType;
  readonly ragged: boolean;
  readonly parts: readonly TablePart[];
  readonly gathers: boolean;
  readonly merges: readonly boolean[];
  batch: number;
  /** Token positions; {@link EMPTY_SLOT} where a slot is free. float32, as the graph reads it. */
  readonly positions: SlotArray<Float32Array>;
  /** The policy's numbers of each slot. */
  readonly slotState: readonly SlotArray<SlotState>[];
  /** [batch, groups]: slots in use. They are always the first ones. */
  filled: Int32Array;
  /** [batch, groups]: tokens given up that a later query could have seen. */
  evicted: Int32Array;
  /**
   * The position that each token's key is rotated to. Null as long as that is its position: until a rebase, or
   * positions that were given.
   */
  #ropePositions: SlotArray<Float32Array> | null = null;
  #arrays: readonly SlotArray<SlotData>[];
  /** By group. */
  readonly #partOfGroup: readonly { readonly part: TablePart; readonly index: number }[];

  constructor(batch: number, spec: TableSpec) {
    this.name = spec.name;
    this.layers = spec.layers;
    this.groups = spec.groups;
    this.budgets = spec.budgets;
    this.budget = Math.max(...spec.budgets);
    this.window = spec.window;
    this.slotStates = spec.slotStates;
    this.slotStateType = spec.slotStateType ?? 'float64';
    this.ragged = spec.ragged ?? false;
    this.parts = spec.parts;
    this.gathers = spec.gathers ?? false;
    this.merges = spec.merges ?? spec.budgets.map(() => false);
    this.batch = batch;
    this.positions = new SlotArray(Float32Array, batch, spec.groups, 1, EMPTY_SLOT);
    this.slotState = this.makeSlotState();
    this.#arrays = [this.positions, ...this.slotState];
    this.#partOfGroup = range(spec.groups).map((group) => {
      const part = spec.parts.find(({ groups }) => groups.includes(group))!;
      return { part, index: part.groups.indexOf(group) };
    });
    this.filled = new Int32Array(batch * spec.groups);
    this.evicted = new Int32Array(batch * spec.groups);
  }

  /** Memory for the policy's numbers, without slots. */
  makeSlotState(): SlotArray<SlotState>[] {
    const { slotStates, slotStateType, batch, groups } = this;
    return range(slotStates).map(() => new SlotArray<SlotState>(SLOT_STATES[slotStateType], batch, groups, 1));
  }

  /** Bytes of the policy's numbers of one slot. */
  get slotStateBytes(): number {
    return this.slotStates * SLOT_STATES[this.slotStateType].BYTES_PER_ELEMENT;
  }

  /** Index of a row and group in {@link filled} and {@link evicted}. */
  groupIndex(row: number, group: number): number {
    return row * this.groups + group;
  }

  /** Slots in use of each of a row's groups, as a view. */
  filledOf(row: number): Int32Array {
    return this.filled.subarray(row * this.groups, (row + 1) * this.groups);
  }

  get bytes(): number {
    const arrays = this.#arrays.reduce((sum, array) => sum + array.bytes, 0);
    return arrays + this.filled.byteLength + this.evicted.byteLength;
  }

  /** Slots that exist now, of the group that has most. */
  get capacity(): number {
    return this.positions.capacity;
  }

  /** Slots that exist now: of each group, or of every one. */
  get capacities(): Capacity {
    return this.positions.capacities ?? this.positions.capacity;
  }

  /** Slots that exist now in a group. */
  capacityOf(group: number): number {
    return this.positions.capacityOf(group);
  }

  /** Slots of each of a part's groups, as a step reads them. */
  slotsOfPart({ groups }: TablePart): number {
    const most = Math.max(...groups.map((g) => this.capacityOf(g)));
    return this.gathers ? Math.ceil(most / FILL) * FILL : most;
  }

  /** The part that a group is of, and which of its groups it is. */
  partOf(group: number): { readonly part: TablePart; readonly index: number } {
    return this.#partOfGroup[group];
  }

  /** @param reserve slots to allocate where new memory is needed. */
  resize(batch: number, capacity: Capacity, reserve?: number): void {
    for (const array of this.#arrays) array.resize(batch, capacity, reserve);
    if (batch !== this.batch) {
      this.filled = resized(this.filled, batch * this.groups);
      this.evicted = resized(this.evicted, batch * this.groups);
    }
    this.batch = batch;
  }

  own(): void {
    for (const array of this.#arrays) array.own();
  }

  /** Says which token a slot holds. */
  put(row: number, group: number, slot: number, position: number, ropePosition: number): void {
    this.positions.data[this.positions.at(row, group, slot)] = position;
    this.turn(row, group, slot, ropePosition);
  }

  /** The position that the key of a slot is rotated to. */
  ropePosition(row: number, group: number, slot: number): number {
    return (this.#ropePositions ?? this.positions).data[this.positions.at(row, group, slot)];
  }

  /** Says what position the key of a slot is rotated to. */
  turn(row: number, group: number, slot: number, ropePosition: number): void {
    const at = this.positions.at(row, group, slot);
    if (!this.#ropePositions) {
      if (this.positions.data[at] === ropePosition) return;
      this.keepRopePositions();
    }
    this.#ropePositions!.data[at] = ropePosition;
  }

  /** Whether some token's key is rotated to another position than its own. */
  get hasRopePositions(): boolean {
    return this.#ropePositions !== null;
  }

  /** Gives the memory of rope positions back where they are the positions of all tokens. */
  trimRopePositions(): void {
    const { data } = this.positions;
    if (!this.#ropePositions?.data.every((ropePosition, i) => ropePosition === data[i])) return;
    this.#ropePositions = null;
    this.#arrays = [this.positions, ...this.slotState];
  }

  /** Makes memory for rope positions that differ from positions. */
  keepRopePositions(): void {
    if (this.#ropePositions) return;
    this.#ropePositions = new SlotArray(Float32Array, this.batch, this.groups, 1, EMPTY_SLOT);
    this.#ropePositions.resize(this.batch, this.capacities);
    this.#ropePositions.data.set(this.positions.data);
    this.#arrays = [this.positions, this.#ropePositions, ...this.slotState];
  }

  /** Frees the slots from `start` on. */
  free(row: number, group: number, start: number): void {
    const index = this.groupIndex(row, group);
    for (const array of this.#arrays) array.wipe(row, group, start, this.filled[index]);
    this.filled[index] = start;
  }

  /** Whether the policy's numbers of the first `count` slots of a group are these. */
  hasState(row: number, group: number, given: readonly ArrayLike<number>[], count: number): boolean {
    return this.slotState.every((array, i) => {
      const at = array.at(row, group);
      return areSame(array.data, at, given[i], count);
    });
  }

  /**
   * The policy's numbers of the first `count` slots of a group, in use or not, as views that may be written to; null:
   * there are not so many slots, or the numbers are stored in another precision than policies see them in.
   */
  stateViews(row: number, group: number, count: number): Float64Array[] | null {
    if (this.slotStateType !== 'float64' || count > this.capacityOf(group)) return null;
    return this.slotState.map((array) => array.slotView(row, group, count) as Float64Array);
  }

  /** Makes the policy's numbers of free slots what they were before they were ever written. */
  wipeState(row: number, group: number, start: number, end: number): void {
    for (const array of this.slotState) array.wipe(row, group, start, end);
  }

  setState(row: number, group: number, given: readonly Float64Array[], count: number): void {
    this.slotState.forEach((array, i) => {
      array.data.set(given[i].subarray(0, count), array.at(row, group));
    });
  }

  /** Copies one slot onto another. */
  move(row: number, group: number, from: number, to: number): void {
    for (const array of this.#arrays) array.copySlot(array, row, group, from, to);
  }

  /** Views of the slots in use of a row and group, one for each array. */
  slotViews(row: number, group: number): SlotData[] {
    const count = this.filled[this.groupIndex(row, group)];
    return this.#arrays.map((array) => array.slotView(row, group, count));
  }

  /** Copies a row from another table of the same kind, whose capacity may be smaller. */
  copyRow(from: SlotTable, source: number, target: number): void {
    if (from.#ropePositions) this.keepRopePositions();
    this.positions.copyRow(from.positions, source, target);
    this.#ropePositions?.copyRow(from.#ropePositions ?? from.positions, source, target);
    this.slotState.forEach((array, i) => {
      array.copyRow(from.slotState[i], source, target);
    });
    for (let g = 0; g < this.groups; g++) {
      this.filled[this.groupIndex(target, g)] = from.filled[from.groupIndex(source, g)];
      this.evicted[this.groupIndex(target, g)] = from.evicted[from.groupIndex(source, g)];
    }
  }

  /** A table with the same content; the memory is shared until one of them writes. */
  fork(): SlotTable {
    const twin = new SlotTable(this.batch, this);
    if (this.#ropePositions) twin.keepRopePositions();
    twin.#arrays.forEach((array, i) => {
      array.share(this.#arrays[i]);
    });
    twin.filled = this.filled.slice();
    twin.evicted = this.evicted.slice();
    return twin;
  }
}

/** Whether numbers are the same, which NaN is to itself. */
function areSame(a: SlotState, at: number, b: ArrayLike<number>, count: number): boolean {
  for (let i = 0; i < count; i++) {
    const x = a[at + i];
    const y = b[i];
    if (x !== y && !(Number.isNaN(x) && Number.isNaN(y))) return false;
  }
  return true;
}

function resized(old: Int32Array, length: number): Int32Array {
  const next = new Int32Array(length);
  next.set(old.subarray(0, length));
  return next;
}
