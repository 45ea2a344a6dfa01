/**
 * @file Ranges of bytes of a file, put together where they touch.
 */

/** From a byte to the one behind the last. */
export type Span = readonly [start: number, end: number];

export class ByteRanges {
  /** In order, apart from each other. */
  #spans: Span[] = [];

  constructor(spans: readonly Span[] = []) {
    this.add(spans);
  }

  add(spans: readonly Span[]): void {
    if (spans.length === 0) return;
    const merged: [number, number][] = [];
    for (const [start, end] of [...this.#spans, ...spans].sort(([a], [b]) => a - b)) {
      const last = merged.at(-1);
      if (last && start <= last[1]) last[1] = Math.max(last[1], end);
      else if (start < end) merged.push([start, end]);
    }
    this.#spans = merged;
  }

  /** Whether all bytes of the span are in the ranges. */
  covers(start: number, end: number): boolean {
    let [low, high] = [0, this.#spans.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#spans[middle][1] < end) low = middle + 1;
      else high = middle;
    }
    return start >= end || (low < this.#spans.length && this.#spans[low][0] <= start);
  }

  get spans(): readonly Span[] {
    return this.#spans;
  }
}
