/**
 * @file The memory that all of a cache is made of: numbers in slots, one row of them per slot, for each batch row and
 * group.
 */
import { ChangeLog } from './change-log.ts';

/** What slots are made of. */
export type SlotData = Float32Array | Float64Array | Uint16Array | Uint8Array | Int8Array;

/** The typed arrays are interchangeable here: this is what of them is used. */
interface Numbers<T> {
  readonly byteLength: number;
  readonly length: number;
  set(source: ArrayLike<number>, at?: number): void;
  copyWithin(target: number, start: number, end: number): T;
  fill(value: number, start?: number, end?: number): T;
  subarray(start: number, end: number): T;
}
interface Maker<T> {
  new (length: number): T & Numbers<T>;
  readonly BYTES_PER_ELEMENT: number;
}

/** Slots of every group, or of each. */
export type Capacity = number | readonly number[];

/**
 * [batch, groups, capacity, width], or, where groups differ in their slots, one array
 * [batch, capacity of the group, width] behind the other for each group. Copies share the array until one of them
 * writes: {@link own} comes before any write.
 */
export class SlotArray<T extends SlotData> {
  readonly groups: number;
  readonly width: number;
  batch: number;
  /** Slots of the group that has most. */
  capacity = 0;
  /** Slots of each group; null: all have {@link capacity}. */
  capacities: readonly number[] | null = null;
  /** The numbers of all slots; another array whenever their layout changes. */
  data: T;
  /** The memory that `data` is the beginning of. */
  #storage: T & Numbers<T>;
  /** Numbers of the memory that were ever in use, where groups differ: the system has committed their pages. */
  #used = 0;
  /** Per group: slots of the groups before it, in all rows; where groups differ. */
  #starts: readonly number[] = [];
  readonly #type: Maker<T>;
  readonly #empty: number;
  /** What was written; null: nothing reads it. */
  #changes: ChangeLog | null = null;
  /** How many slot arrays use the memory. */
  #users = { count: 1 };

  /** @param empty what a slot holds that was never written. */
  constructor(
    type: (new (length: number) => T) & { readonly BYTES_PER_ELEMENT: number },
    batch: number,
    groups: number,
    width: number,
    empty = 0,
  ) {
    this.#type = type as unknown as Maker<T>;
    this.batch = batch;
    this.groups = groups;
    this.width = width;
    this.#empty = empty;
    this.#storage = new this.#type(0);
    this.data = this.#storage;
  }

  get bytes(): number {
    return this.data.byteLength;
  }

  get slotBytes(): number {
    return this.width * this.#type.BYTES_PER_ELEMENT;
  }

  /** Index of a slot's first number. */
  at(row: number, group: number, slot = 0): number {
    if (this.capacities === null) return ((row * this.groups + group) * this.capacity + slot) * this.width;
    return (this.#starts[group] + row * this.capacities[group] + slot) * this.width;
  }

  /** The log of what is written from now on. It has one reader. */
  watch(): ChangeLog {
    this.#changes ??= new ChangeLog();
    return this.#changes;
  }

  /** To be called by writers of {@link data}: they wrote to so many slots. */
  wrote(row: number, group: number, slot: number, count: number): void {
    if (this.#changes === null) return;
    const start = this.at(row, group, slot);
    this.#changes.add(start, start + count * this.width);
  }

  /** Slots of a group. */
  capacityOf(group: number): number {
    return this.capacities?.[group] ?? this.capacity;
  }

  /** All rows of one group [batch, capacity, width], where groups differ. */
  groupData(group: number): T {
    return this.data.subarray(this.at(0, group), this.at(this.batch, group)) as T;
  }

  /**
   * Changes the number of rows and slots; what lies within both sizes stays.
   * @param reserve slots to allocate where new memory is needed, so that growing up to them needs none. Spare slots are
   * never written, so the system commits their pages lazily. Groups that differ have their own.
   */
  resize(batch: number, capacity: Capacity, reserve?: number): void {
    if (typeof capacity !== 'number' || this.capacities) this.#resizeEach(batch, capacity);
    else this.#resizeAll(batch, capacity, reserve ?? capacity);
  }

  #resizeAll(batch: number, capacity: number, reserve: number): void {
    if (batch === this.batch && capacity === this.capacity) return;
    const { groups, width } = this;
    const size = batch * groups * capacity * width;
    const from = this.capacity * width;
    const to = capacity * width;
    const kept = Math.min(from, to);
    const pieces = Math.min(batch, this.batch) * groups;
    const old = this.data;
    const inPlace = this.#users.count === 1 && size <= this.#storage.length && 2 * size >= old.length;
    const storage = inPlace ? this.#storage : new this.#type(Math.max(size, batch * groups * reserve * width));
    const move = (piece: number): void => {
      storage.set(old.subarray(piece * from, piece * from + kept) as T, piece * to);
      storage.fill(this.#empty, piece * to + kept, (piece + 1) * to);
    };
    // In place, no piece may overwrite one that has not moved yet.
    if (to > from) for (let piece = pieces - 1; piece >= 0; piece--) move(piece);
    else for (let piece = 0; piece < pieces; piece++) move(piece);
    storage.fill(this.#empty, pieces * to, size);
    if (!inPlace) this.#release();
    this.#storage = storage;
    this.data = storage.subarray(0, size) as T;
    this.#changes?.addAll();
    this.batch = batch;
    this.capacity = capacity;
  }

  /**
   * The same where groups differ, before or after. There is space for half as much again, as limits that follow the
   * length change with each chunk of a prompt; a quarter less gives memory back.
   */
  #resizeEach(batch: number, capacity: Capacity): void {
    const { groups, width, batch: rows, data: old } = this;
    const capacities = typeof capacity === 'number' ? new Array<number>(groups).fill(capacity) : [...capacity];
    if (batch === rows && this.capacities && capacities.every((slots, g) => slots === this.capacities![g])) return;
    const starts: number[] = [];
    let total = 0;
    for (const slots of capacities) {
      starts.push(total);
      total += batch * slots;
    }
    const size = total * width;
    const isAlone = this.capacities !== null && batch === 1 && rows === 1 && this.#users.count === 1;
    const inPlace = isAlone && size <= this.#storage.length && 4 * size >= 3 * this.#used;
    const storage = inPlace ? this.#storage : new this.#type(Math.ceil(1.5 * size));
    const move = (group: number, row: number): void => {
      const from = this.at(row, group);
      const kept = row < rows ? Math.min(this.capacityOf(group), capacities[group]) * width : 0;
      const to = (starts[group] + row * capacities[group]) * width;
      if (inPlace) storage.copyWithin(to, from, from + kept);
      else storage.set(old.subarray(from, from + kept) as T, to);
      if (inPlace || this.#empty !== 0) storage.fill(this.#empty, to + kept, to + capacities[group] * width);
    };
    if (inPlace) {
      // Those that move up from the last on, and then the others from the first on: so none overwrites one that has not
      // moved yet.
      const up = (group: number) => starts[group] * width > this.at(0, group);
      for (let group = groups - 1; group >= 0; group--) if (up(group)) move(group, 0);
      for (let group = 0; group < groups; group++) if (!up(group)) move(group, 0);
    } else {
      for (let group = 0; group < groups; group++) for (let row = 0; row < batch; row++) move(group, row);
      this.#release();
    }
    this.#used = inPlace ? Math.max(this.#used, size) : size;
    this.#storage = storage;
    this.data = storage.subarray(0, size) as T;
    this.#changes?.addAll();
    this.batch = batch;
    this.capacities = capacities;
    this.capacity = Math.max(...capacities);
    this.#starts = starts;
  }

  /** Copies one slot from this array, or from another of the same kind. */
  copySlot(from: SlotArray<T>, row: number, group: number, source: number, target: number): void {
    const a = from.at(row, group, source);
    const b = this.at(row, group, target);
    const { width } = this;
    // One number needs no view. Of more, a loop over arrays of several types took five times as long as the view.
    if (width === 1) this.data[b] = from.data[a];
    else this.data.set(from.data.subarray(a, a + width) as T, b);
    this.#changes?.add(b, b + width);
  }

  /** Copies `count` slots behind each other to others of this array, which may overlap them. */
  copySlots(row: number, group: number, source: number, target: number, count: number): void {
    const a = this.at(row, group, source);
    this.#storage.copyWithin(this.at(row, group, target), a, a + count * this.width);
    this.wrote(row, group, target, count);
  }

  /** Makes slots what they were before they were ever written. */
  wipe(row: number, group: number, start: number, end: number): void {
    this.data.fill(this.#empty, this.at(row, group, start), this.at(row, group, end));
    this.wrote(row, group, start, end - start);
  }

  /** Copies a row from another array of the same kind: as many slots as both have. */
  copyRow(other: SlotArray<T>, from: number, to: number): void {
    for (let group = 0; group < this.groups; group++) {
      const start = other.at(from, group);
      const slots = Math.min(other.capacityOf(group), this.capacityOf(group));
      this.data.set(other.data.subarray(start, start + slots * this.width) as T, this.at(to, group));
      this.wrote(to, group, 0, slots);
      this.wipe(to, group, slots, this.capacityOf(group));
    }
  }

  /** A view of the first `count` slots of a row and group, which may be written to. */
  slotView(row: number, group: number, count: number): T {
    this.wrote(row, group, 0, count);
    const at = this.at(row, group);
    return this.data.subarray(at, at + count * this.width) as T;
  }

  /** Becomes a copy of another array of the same kind; the memory is shared until one of them writes. */
  share(other: SlotArray<T>): void {
    this.#release();
    this.batch = other.batch;
    this.capacity = other.capacity;
    this.capacities = other.capacities;
    this.#starts = other.#starts;
    this.data = other.data;
    this.#storage = other.#storage;
    this.#used = other.#used;
    this.#users = other.#users;
    this.#users.count++;
    this.#changes?.addAll();
  }

  /** Copies shared memory, so that what is written from now on is seen here only. */
  own(): void {
    if (this.#users.count === 1) return;
    const copy = this.data.slice() as T & Numbers<T>;
    this.#release();
    this.#storage = copy;
    this.#used = copy.length;
    this.data = copy;
  }

  #release(): void {
    this.#users.count--;
    this.#users = { count: 1 };
  }
}
