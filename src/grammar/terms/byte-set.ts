/**
 * @file Sets of bytes, and partitions of all bytes into classes that a term can't tell apart.
 */

/** 256 bits. Equal sets are the same object within one {@link ByteSets}. */
export interface ByteSet {
  readonly id: number;
  readonly bits: Uint32Array;
  readonly classes: ByteClasses;
}

/** Which class each byte is in, and one byte of each class. Equal partitions are the same object. */
export interface ByteClasses {
  readonly id: number;
  readonly of: Uint8Array;
  readonly bytes: Uint8Array;
}

/** Interns sets and partitions. */
export class ByteSets {
  readonly #sets = new Map<string, ByteSet>();
  readonly #partitions = new Map<string, ByteClasses>();
  readonly #refined = new Map<number, ByteClasses>();
  /** All bytes in one class. */
  readonly whole = this.#partition(new Uint16Array(256), 1);

  /** @param ranges first and last byte of each, in turn. */
  ranges(...ranges: readonly number[]): ByteSet {
    const bits = new Uint32Array(8);
    for (let i = 0; i < ranges.length; i += 2)
      for (let byte = ranges[i]; byte <= ranges[i + 1]; byte++) bits[byte >>> 5] |= 1 << (byte & 31);
    return this.#intern(bits);
  }

  union(a: ByteSet, b: ByteSet): ByteSet {
    return this.#intern(a.bits.map((word, i) => word | b.bits[i]));
  }

  intersection(a: ByteSet, b: ByteSet): ByteSet {
    return this.#intern(a.bits.map((word, i) => word & b.bits[i]));
  }

  /** The partition that tells apart what one of two does. */
  refine(a: ByteClasses, b: ByteClasses): ByteClasses {
    if (a === b || b === this.whole) return a;
    if (a === this.whole) return b;
    const key = a.id < b.id ? a.id * 0x4000000 + b.id : b.id * 0x4000000 + a.id;
    let refined = this.#refined.get(key);
    if (!refined) {
      const width = b.bytes.length;
      const labels = new Uint16Array(256);
      for (let byte = 0; byte < 256; byte++) labels[byte] = a.of[byte] * width + b.of[byte];
      refined = this.#partition(labels, a.bytes.length * width);
      this.#refined.set(key, refined);
    }
    return refined;
  }

  #intern(bits: Uint32Array): ByteSet {
    const key = textOf(new Uint16Array(bits.buffer));
    let set = this.#sets.get(key);
    if (!set) {
      const labels = new Uint16Array(256);
      for (let byte = 0; byte < 256; byte++) labels[byte] = (bits[byte >>> 5] >>> (byte & 31)) & 1;
      set = { id: this.#sets.size, bits, classes: this.#partition(labels, 2) };
      this.#sets.set(key, set);
    }
    return set;
  }

  /** @param labels of the 256 bytes, each below `count`. */
  #partition(labels: Uint16Array, count: number): ByteClasses {
    const numbers = new Int16Array(count).fill(-1);
    const bytes: number[] = [];
    const of = new Uint8Array(256);
    for (let byte = 0; byte < 256; byte++) {
      const label = labels[byte];
      if (numbers[label] < 0) numbers[label] = bytes.push(byte) - 1;
      of[byte] = numbers[label];
    }
    const key = textOf(of);
    let partition = this.#partitions.get(key);
    if (!partition) {
      partition = { id: this.#partitions.size, of, bytes: Uint8Array.from(bytes) };
      this.#partitions.set(key, partition);
    }
    return partition;
  }
}

/** A key of a map: joined numbers took a third of the time of compiling. */
const textOf = (values: Uint8Array | Uint16Array): string => String.fromCharCode(...values);

export const hasByte = (set: ByteSet, byte: number): boolean => ((set.bits[byte >>> 5] >>> (byte & 31)) & 1) === 1;
