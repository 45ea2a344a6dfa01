/**
 * @file Which numbers of a slot array were written since an engine copied them last: a GPU has a copy of its own.
 */

/** With more ranges than that, one copy of all is as good. */
const MAX_RANGES = 256;

/** Written ranges of one array. At first that is all of it. */
export class ChangeLog {
  /** Start, end, start, end, … */
  #ends: number[] = [];
  #isAll = true;

  /** Numbers from index `start` to before `end` were written. */
  add(start: number, end: number): void {
    if (this.#isAll || start >= end) return;
    const ends = this.#ends;
    // Slots are often written one behind the other.
    if (ends.length > 0 && ends[ends.length - 1] === start) ends[ends.length - 1] = end;
    else if (ends.length < 2 * MAX_RANGES) ends.push(start, end);
    else this.addAll();
  }

  /** The array has other numbers, or another layout. */
  addAll(): void {
    this.#isAll = true;
    this.#ends.length = 0;
  }

  /** What was written since the last call. @param length of the array now. */
  take(length: number): [start: number, end: number][] {
    const taken: [number, number][] = [];
    if (this.#isAll) taken.push([0, length]);
    else for (let i = 0; i < this.#ends.length; i += 2) taken.push([this.#ends[i], this.#ends[i + 1]]);
    this.#isAll = false;
    this.#ends.length = 0;
    return taken;
  }
}
