/**
 * @file The memory that all of a cache is made of: numbers in slots, one row of them per slot, for each batch row and group.
 */

export type PlaneData = Float32Array | Float64Array | Uint16Array | Uint8Array | Int8Array;

/** The typed arrays are interchangeable here: this is what of them is used. */
interface Numbers<T> {
  readonly byteLength: number;
  readonly length: number;
  set(source: ArrayLike<number>, at?: number): void;
  fill(value: number, start?: number, end?: number): T;
  subarray(start: number, end: number): T;
}
type Maker<T> = new (length: number) => T & Numbers<T>;

/**
 * [batch, groups, capacity, width]. Copies share the array until one of them writes: {@link own} comes before any write.
 */
export class Plane<T extends PlaneData> {
  readonly groups: number;
  readonly width: number;
  batch: number;
  capacity = 0;
  /** The numbers of all slots; another array whenever their layout changes. */
  data: T;
  /** The memory that `data` is the beginning of. */
  #room: T & Numbers<T>;
  readonly #make: Maker<T>;
  readonly #empty: number;
  /** How many planes use the array. */
  #users = { count: 1 };

  /** @param empty what a slot holds that was never written. */
  constructor(make: new (length: number) => T, batch: number, groups: number, width: number, empty = 0) {
    this.#make = make as Maker<T>;
    this.batch = batch;
    this.groups = groups;
    this.width = width;
    this.#empty = empty;
    this.#room = new this.#make(0);
    this.data = this.#room;
  }

  get bytes(): number {
    return this.data.byteLength;
  }

  /** Index of a slot's first number. */
  at(row: number, group: number, slot = 0): number {
    return ((row * this.groups + group) * this.capacity + slot) * this.width;
  }

  /**
   * Changes the number of rows and slots; what lies within both sizes stays.
   * @param reserve slots to make room for where new memory is needed, so that growing up to them needs none. What is not used yet
   * is not touched, and systems give memory when it is.
   */
  resize(batch: number, capacity: number, reserve = capacity): void {
    if (batch === this.batch && capacity === this.capacity) return;
    const { groups, width } = this;
    const size = batch * groups * capacity * width;
    const from = this.capacity * width;
    const to = capacity * width;
    const kept = Math.min(from, to);
    const lanes = Math.min(batch, this.batch) * groups;
    const old = this.data;
    const inPlace = this.#users.count === 1 && size <= this.#room.length && 2 * size >= old.length;
    const room = inPlace ? this.#room : new this.#make(Math.max(size, batch * groups * reserve * width));
    const move = (lane: number): void => {
      room.set(old.subarray(lane * from, lane * from + kept) as T, lane * to);
      room.fill(this.#empty, lane * to + kept, (lane + 1) * to);
    };
    // In place no lane may come onto one that is yet to be moved.
    if (to > from) for (let lane = lanes - 1; lane >= 0; lane--) move(lane);
    else for (let lane = 0; lane < lanes; lane++) move(lane);
    room.fill(this.#empty, lanes * to, size);
    if (!inPlace) this.#release();
    this.#room = room;
    this.data = room.subarray(0, size) as T;
    this.batch = batch;
    this.capacity = capacity;
  }

  /** Takes one slot over from this plane, or from another of the same kind. */
  copySlot(from: Plane<T>, row: number, group: number, source: number, target: number): void {
    const a = from.at(row, group, source);
    const b = this.at(row, group, target);
    const { data, width } = this;
    const other = from.data;
    for (let i = 0; i < width; i++) data[b + i] = other[a + i];
  }

  /** Makes slots what they were before they were ever written. */
  wipe(row: number, group: number, start: number, end: number): void {
    this.data.fill(this.#empty, this.at(row, group, start), this.at(row, group, end));
  }

  /** Takes a row over from another plane of the same kind, whose capacity may be smaller. */
  copyRow(other: Plane<T>, from: number, to: number): void {
    for (let group = 0; group < this.groups; group++) {
      const start = other.at(from, group);
      const lane = other.data.subarray(start, start + other.capacity * this.width);
      this.data.set(lane as T, this.at(to, group));
      this.wipe(to, group, other.capacity, this.capacity);
    }
  }

  /** The first `count` slots of a row and group, as they lie in memory. */
  lane(row: number, group: number, count: number): T {
    const at = this.at(row, group);
    return this.data.subarray(at, at + count * this.width) as T;
  }

  /** Takes the content of another plane of the same kind over; the memory is shared until one of them writes. */
  share(other: Plane<T>): void {
    this.#release();
    this.batch = other.batch;
    this.capacity = other.capacity;
    this.data = other.data;
    this.#room = other.#room;
    this.#users = other.#users;
    this.#users.count++;
  }

  /** Makes sure that nobody else sees what is written from now on. */
  own(): void {
    if (this.#users.count === 1) return;
    const copy = this.data.slice() as T & Numbers<T>;
    this.#release();
    this.data = copy;
    this.#room = copy;
  }

  #release(): void {
    this.#users.count--;
    this.#users = { count: 1 };
  }
}
