/**
 * @file Finds the leading tokens of logits without sorting the vocabulary: one pass with a small heap, or a partition.
 */
import { expOfNegative } from './exp.ts';

/**
 * The ids of the n most likely tokens, the most likely first; of equal ones the lower id first.
 */
export function mostLikely(logits: Float32Array, n: number, ranking: TokenRanking = new TokenRanking()): number[] {
  const count = ranking.largest(logits, n);
  return [...ranking.ids.subarray(0, count)].sort((a, b) => (precedes(logits, a, b) ? -1 : 1));
}

/** The largest logit; -Infinity where there is none, NaN is passed over. */
export function maximum(logits: Float32Array): number {
  let max = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i];
  return max;
}

/** Token ids partly ordered by their logits, in memory that is used again at every step. */
export class TokenRanking {
  ids = new Int32Array(0);
  /** How many of {@link ids} are taken. */
  count = 0;
  /** By id, of the taken ones: what {@link weigh} found, and what it came to. */
  weights = new Float64Array(0);
  total = 0;
  /** Logits set aside. */
  #kept = new Float32Array(0);

  /** Takes all ids that are still possible, and not below `least`. */
  fill(logits: Float32Array, least = -Infinity): number {
    if (this.ids.length < logits.length) this.ids = new Int32Array(logits.length);
    let count = 0;
    for (let id = 0; id < logits.length; id++)
      if (logits[id] >= least && logits[id] > -Infinity) this.ids[count++] = id;
    this.count = count;
    return count;
  }

  /** Gives up the taken ids whose logits are below `least`. */
  narrow(logits: Float32Array, least: number): void {
    let count = 0;
    for (let i = 0; i < this.count; i++) if (logits[this.ids[i]] >= least) this.ids[count++] = this.ids[i];
    this.count = count;
  }

  /**
   * Brings the ids of the n largest logits to the front, in no order.
   * @returns n, or how many there are.
   */
  largest(logits: Float32Array, n: number): number {
    // The heap's work grows with n, and soon outweighs that of a partition of everything.
    const least = n * 8 < logits.length ? this.#nthLargest(logits, n) : -Infinity;
    const count = Math.min(n, this.fill(logits, least));
    return count === 0 ? 0 : this.lead(logits, () => 1, count);
  }

  /** exp(logit - max) of every taken id, at the id's index. */
  weigh(logits: Float32Array, max: number): Float64Array {
    if (this.weights.length < logits.length) this.weights = new Float64Array(logits.length);
    this.total = 0;
    for (let i = 0; i < this.count; i++) {
      const id = this.ids[i];
      const weight = expOfNegative(logits[id] - max);
      this.weights[id] = weight;
      this.total += weight;
    }
    return this.weights;
  }

  /**
   * Brings the fewest leading ids whose weights come to `target` to the front (quickselect by weight).
   * @returns how many they are: at least one, at most all.
   */
  lead(logits: Float32Array, weightOf: (id: number) => number, target: number): number {
    const { ids } = this;
    let low = 0;
    let high = this.count;
    let before = 0;
    while (high - low > 2) {
      const pivot = medianOfThree(logits, ids[low], ids[(low + high) >> 1], ids[high - 1]);
      let end = low;
      let weight = 0;
      for (let i = low; i < high; i++) {
        const id = ids[i];
        if (id !== pivot && !precedes(logits, id, pivot)) continue;
        ids[i] = ids[end];
        ids[end++] = id;
        weight += weightOf(id);
      }
      if (before + weight >= target) high = end;
      else {
        before += weight;
        low = end;
      }
    }
    if (high - low < 2) return high;
    const [first, second] = [ids[low], ids[low + 1]];
    if (precedes(logits, second, first)) ids.set([second, first], low);
    return before + weightOf(ids[low]) >= target ? low + 1 : high;
  }

  /** Makes all tokens but the first n of the taken ones impossible. */
  keep(logits: Float32Array, n: number): void {
    if (this.#kept.length < n) this.#kept = new Float32Array(n);
    for (let i = 0; i < n; i++) this.#kept[i] = logits[this.ids[i]];
    logits.fill(-Infinity);
    for (let i = 0; i < n; i++) logits[this.ids[i]] = this.#kept[i];
  }

  /** The n-th largest logit, by a heap of the n largest so far with the smallest of them on top. */
  #nthLargest(logits: Float32Array, n: number): number {
    if (n === 0) return Infinity;
    if (this.#kept.length < n) this.#kept = new Float32Array(n);
    const heap = this.#kept.subarray(0, n).fill(-Infinity);
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id];
      if (!(logit > heap[0])) continue;
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (child >= n || heap[child] >= logit) break;
        heap[at] = heap[child];
        at = child;
      }
      heap[at] = logit;
    }
    return heap[0];
  }
}

function precedes(logits: Float32Array, a: number, b: number): boolean {
  return logits[a] > logits[b] || (logits[a] === logits[b] && a < b);
}

function medianOfThree(logits: Float32Array, a: number, b: number, c: number): number {
  const [first, second] = precedes(logits, a, b) ? [a, b] : [b, a];
  if (precedes(logits, c, first)) return first;
  return precedes(logits, second, c) ? second : c;
}
