/**
 * @file Keys and values of one layer in float32 on the host.
 */

/** What the cache needs of the storage of one layer: rows go in, arrays that the graph reads come out. */
export interface SlotBuffer {
  /** Bytes allocated. */
  readonly bytes: number;
  /** Changes the number of slots; what the kept slots hold stays. */
  resize(capacity: number): void;
  /**
   * Stores `count` tokens in consecutive slots of a row and group.
   * @param source [..., D] keys and values, of which those at element offsets `keyAt` and `valueAt` on are taken.
   */
  write(
    row: number,
    group: number,
    slot: number,
    count: number,
    source: Float32Array,
    keyAt: number,
    valueAt: number,
  ): void;
  /** [batch, groups, capacity, D] */
  readonly keys: Float32Array;
  readonly values: Float32Array;
}

export class Float32Buffer implements SlotBuffer {
  readonly #heads: number;
  readonly #groups: number;
  readonly #headSize: number;
  #capacity = 0;
  keys = new Float32Array(0);
  values = new Float32Array(0);

  constructor(batch: number, groups: number, headSize: number) {
    this.#heads = batch * groups;
    this.#groups = groups;
    this.#headSize = headSize;
  }

  get bytes(): number {
    return this.keys.byteLength + this.values.byteLength;
  }

  resize(capacity: number): void {
    const D = this.#headSize;
    const kept = Math.min(capacity, this.#capacity) * D;
    const moved = (old: Float32Array) => {
      const next = new Float32Array(this.#heads * capacity * D);
      for (let i = 0; i < this.#heads; i++)
        next.set(old.subarray(i * this.#capacity * D, i * this.#capacity * D + kept), i * capacity * D);
      return next;
    };
    // One after the other, so that at most one of the old arrays is held twice.
    this.keys = moved(this.keys);
    this.values = moved(this.values);
    this.#capacity = capacity;
  }

  write(
    row: number,
    group: number,
    slot: number,
    count: number,
    source: Float32Array,
    keyAt: number,
    valueAt: number,
  ): void {
    const D = this.#headSize;
    const at = ((row * this.#groups + group) * this.#capacity + slot) * D;
    this.keys.set(source.subarray(keyAt, keyAt + count * D), at);
    this.values.set(source.subarray(valueAt, valueAt + count * D), at);
  }
}
