/**
 * @file Arrays that results are read into. Those of a chunk's keys and values are given back and written anew: 12 MB
 * for each 256 tokens of a 135M model, of which 60 to 150 MB were garbage before V8 collected them.
 */
export class ResultArrays {
  /** By length. */
  readonly #free = new Map<number, Float32Array[]>();

  /** An array of any content. */
  take(length: number): Float32Array {
    return this.#free.get(length)?.pop() ?? new Float32Array(length);
  }

  /**
   * Takes arrays back in place of those that it has: chunks of one length follow each other. Parts of larger arrays are
   * left out.
   */
  give(arrays: readonly Float32Array[]): void {
    this.#free.clear();
    for (const array of arrays) {
      if (array.byteLength !== array.buffer.byteLength) continue;
      const same = this.#free.get(array.length);
      if (same) same.push(array);
      else this.#free.set(array.length, [array]);
    }
  }
}
