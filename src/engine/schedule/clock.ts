/**
 * @file The times of one run.
 */

/** Milliseconds until the first logits, and from then on. */
export class Clock {
  #begin = performance.now();
  #prefilled = Number.NaN;
  #end = Number.NaN;

  start(): void {
    this.#begin = performance.now();
  }

  prefilled(): void {
    this.#prefilled = performance.now();
  }

  stop(): void {
    this.#end = performance.now();
    if (Number.isNaN(this.#prefilled)) this.#prefilled = this.#end;
  }

  get prefillMs(): number {
    return this.#prefilled - this.#begin;
  }

  get decodeMs(): number {
    return this.#end - this.#prefilled;
  }
}
