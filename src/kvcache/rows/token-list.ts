/**
 * @file A list of token ids that grows.
 */

/** Four bytes a token. */
export class TokenList {
  #ids = new Int32Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  get bytes(): number {
    return this.#ids.byteLength;
  }

  /** The most that a list of so many tokens takes. */
  static mostBytes(tokens: number): number {
    return 4 * Math.max(64, Math.ceil(1.25 * tokens));
  }

  push(tokens: ArrayLike<number>, count = tokens.length): void {
    const wanted = this.#length + count;
    if (wanted > this.#ids.length) {
      const next = new Int32Array(Math.max(wanted, Math.floor(1.25 * this.#ids.length)));
      next.set(this.#ids);
      this.#ids = next;
    }
    for (let i = 0; i < count; i++) this.#ids[this.#length + i] = tokens[i];
    this.#length = wanted;
  }

  truncate(length: number): void {
    this.#length = length;
  }

  at(index: number): number {
    return this.#ids[index];
  }

  toArray(): number[] {
    return Array.from(this.view());
  }

  /** The ids as they lie in memory, until the next change. */
  view(): Int32Array {
    return this.#ids.subarray(0, this.#length);
  }
}
