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
  readonly whole = this.#partition(new Array<number>(256).fill(0));

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
      refined = this.#partition(Array.from(a.of, (inA, byte) => inA * 256 + b.of[byte]));
      this.#refined.set(key, refined);
    }
    return refined;
  }

  #intern(bits: Uint32Array): ByteSet {
    const key = bits.join();
    let set = this.#sets.get(key);
    if (!set) {
      const classes = this.#partition(Array.from({ length: 256 }, (_, byte) => (bits[byte >>> 5] >>> (byte & 31)) & 1));
      set = { id: this.#sets.size, bits, classes };
      this.#sets.set(key, set);
    }
    return set;
  }

  #partition(labels: readonly number[]): ByteClasses {
    const numbers = new Map<number, number>();
    const bytes: number[] = [];
    const of = Uint8Array.from(labels, (label, byte) => {
      let number = numbers.get(label);
      if (number === undefined) {
        number = bytes.push(byte) - 1;
        numbers.set(label, number);
      }
      return number;
    });
    const key = of.join();
    let partition = this.#partitions.get(key);
    if (!partition) {
      partition = { id: this.#partitions.size, of, bytes: Uint8Array.from(bytes) };
      this.#partitions.set(key, partition);
    }
    return partition;
  }
}

export const hasByte = (set: ByteSet, byte: number): boolean => ((set.bits[byte >>> 5] >>> (byte & 31)) & 1) === 1;
