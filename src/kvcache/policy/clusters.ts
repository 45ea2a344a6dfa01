/**
 * @file Joins points two by two, those first that lose least by it: hierarchical clustering after Ward.
 */
import type { KeyDistances } from '../shape.ts';
import { hostDistances } from './vectors.ts';

/** Points to be joined. The arrays may be longer. */
export interface Points {
  readonly count: number;
  /** Coordinates of a point. */
  readonly size: number;
  /** [count, size] */
  readonly coordinates: Float32Array;
  /** How much a point counts in the mean of its cluster. */
  readonly shares: Float64Array;
  /** How much it counts that a point moves. */
  readonly weights: Float64Array;
}

/** Joins points to clusters. It keeps the memory that this takes. */
export class Clusters {
  /** Squared distances of the means [n, n]. */
  #distances = new Float64Array(0);
  #shares = new Float64Array(0);
  #weights = new Float64Array(0);
  /** With which other cluster each would be joined for the least loss; −1: it is to be looked for … */
  #partner = new Int32Array(0);
  /** … and that loss; where the partner is to be looked for, a loss that it is not below. */
  #loss = new Float64Array(0);
  /** The clusters that go on, in no order: the first so many. */
  #alive = new Int32Array(0);
  #count = 0;
  readonly #measure: KeyDistances;

  /** @param measure @default the host measures distances */
  constructor(measure: KeyDistances = hostDistances) {
    this.#measure = measure;
  }

  /**
   * Joins two clusters at a time, of one point each at first: those for which w_a w_b / (w_a + w_b) ‖m_a − m_b‖² is the
   * least. w is the sum of a cluster's weights, and m the mean of its points by their shares. The one that weighs more
   * goes on as the cluster of both.
   * @returns for each point the cluster that it was joined into as a cluster, by its number; −1: it goes on.
   */
  join(points: Points, joins: number): Int32Array {
    const n = points.count;
    const into = new Int32Array(n).fill(-1);
    this.#start(points);
    for (let left = Math.min(joins, n - 1); left > 0; left--) {
      const one = this.#closest();
      const other = this.#partner[one];
      const [stays, goes] = this.#weights[one] < this.#weights[other] ? [other, one] : [one, other];
      into[goes] = stays;
      this.#joinTwo(stays, goes, n);
    }
    return into;
  }

  #start({ count: n, size, coordinates, shares, weights }: Points): void {
    if (this.#distances.length < n * n) this.#distances = new Float64Array(Math.ceil(1.5 * n * n));
    this.#shares = shares.slice(0, n);
    this.#weights = weights.slice(0, n);
    this.#partner = new Int32Array(n);
    this.#loss = new Float64Array(n);
    this.#alive = Int32Array.from({ length: n }, (_, a) => a);
    this.#count = n;
    this.#measure(coordinates, n, size, this.#distances);
    for (let a = 0; a < n; a++) this.#findPartner(a);
  }

  /** The cluster that would be joined for the least loss, whose partner is known then. */
  #closest(): number {
    const [loss, alive, partner] = [this.#loss, this.#alive, this.#partner];
    for (;;) {
      let best = alive[0];
      for (let i = 1; i < this.#count; i++) if (loss[alive[i]] < loss[best]) best = alive[i];
      if (partner[best] >= 0) return best;
      this.#findPartner(best);
    }
  }

  /** Joins cluster `b` into `a`. */
  #joinTwo(a: number, b: number, n: number): void {
    const [shares, weights, distances] = [this.#shares, this.#weights, this.#distances];
    const [partner, loss, alive] = [this.#partner, this.#loss, this.#alive];
    alive[alive.indexOf(b)] = alive[--this.#count];
    // Distances from the mean of both follow from those of the two (Lance and Williams 1967).
    const part = shares[a] / (shares[a] + shares[b]);
    const inner = part * (1 - part) * distances[a * n + b];
    shares[a] += shares[b];
    weights[a] += weights[b];
    const own = weights[a];
    partner[a] = -1;
    loss[a] = Number.POSITIVE_INFINITY;
    for (let i = 0; i < this.#count; i++) {
      const x = alive[i];
      if (x === a) continue;
      const distance = Math.max(0, part * distances[a * n + x] + (1 - part) * distances[b * n + x] - inner);
      distances[x * n + a] = distance;
      distances[a * n + x] = distance;
      const lost = lossOf(distance, own, weights[x]);
      if (lost < loss[a]) {
        loss[a] = lost;
        partner[a] = x;
      }
      if (lost < loss[x]) {
        loss[x] = lost;
        partner[x] = a;
      } else if (partner[x] === a || partner[x] === b) partner[x] = -1;
    }
  }

  #findPartner(a: number): void {
    const [distances, weights, alive] = [this.#distances, this.#weights, this.#alive];
    const own = weights[a];
    const at = a * weights.length;
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (let i = 0; i < this.#count; i++) {
      const b = alive[i];
      if (b === a) continue;
      const lost = lossOf(distances[at + b], own, weights[b]);
      if (lost < least) {
        least = lost;
        best = b;
      }
    }
    this.#partner[a] = best;
    this.#loss[a] = least;
  }
}

/** What is lost where two clusters of these weights become one. @param distance squared, of their means. */
const lossOf = (distance: number, a: number, b: number): number => (distance * a * b) / (a + b);
