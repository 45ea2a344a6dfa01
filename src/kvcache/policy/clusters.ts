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
  /** NaN for one that was joined into another: so no loss with it is the least. */
  #weights = new Float64Array(0);
  /** With which later cluster each would be joined for the least loss; −1: it is to be looked for … */
  #partner = new Int32Array(0);
  /** … and that loss; where the partner is to be looked for, a loss that it is not below. */
  #loss = new Float64Array(0);
  readonly #measure: KeyDistances;

  /** @param measure @default the host measures distances */
  constructor(measure: KeyDistances = hostDistances) {
    this.#measure = measure;
  }

  /**
   * Joins two clusters at a time, of one point each at first: those for which w_a w_b / (w_a + w_b) ‖m_a − m_b‖² is the
   * least. w is the sum of a cluster's weights, and m the mean of its points by their shares. The one that weighs more
   * goes on as the cluster of both. What has no distance, as it is not a number, is not joined.
   * @returns for each point the cluster that it was joined into as a cluster, by its number; −1: it goes on.
   */
  join(points: Points, joins: number): Int32Array {
    const n = points.count;
    const into = new Int32Array(n).fill(-1);
    this.#start(points);
    for (let left = Math.min(joins, n - 1); left > 0; left--) {
      const one = this.#closest(n);
      if (one < 0) break;
      const other = this.#partner[one];
      const [stays, goes] = this.#weights[one] < this.#weights[other] ? [other, one] : [one, other];
      into[goes] = stays;
      this.#joinTwo(stays, goes, n);
    }
    return into;
  }

  #start({ count: n, size, coordinates, shares, weights }: Points): void {
    if (this.#distances.length < n * n) this.#distances = new Float64Array(Math.ceil(1.5 * n * n));
    if (this.#loss.length < n) {
      const length = Math.ceil(1.25 * n);
      this.#shares = new Float64Array(length);
      this.#weights = new Float64Array(length);
      this.#loss = new Float64Array(length);
      this.#partner = new Int32Array(length);
    }
    for (let a = 0; a < n; a++) {
      this.#shares[a] = shares[a];
      this.#weights[a] = weights[a];
    }
    this.#measure(coordinates, n, size, this.#distances);
    for (let a = 0; a < n; a++) this.#findPartner(a, n);
  }

  /** The cluster that would be joined for the least loss, whose partner is known then; −1: there is none. */
  #closest(n: number): number {
    const [loss, partner] = [this.#loss, this.#partner];
    for (;;) {
      let best = 0;
      let least = loss[0];
      for (let a = 1; a < n; a++)
        if (loss[a] < least) {
          best = a;
          least = loss[a];
        }
      if (least === Number.POSITIVE_INFINITY) return -1;
      if (partner[best] >= 0) return best;
      this.#findPartner(best, n);
    }
  }

  /** Joins cluster `b` into `a`. */
  #joinTwo(a: number, b: number, n: number): void {
    const [shares, weights, distances, partner, loss] = [
      this.#shares,
      this.#weights,
      this.#distances,
      this.#partner,
      this.#loss,
    ];
    // Distances from the mean of both follow from those of the two (Lance and Williams 1967).
    const part = shares[a] / (shares[a] + shares[b]);
    const rest = 1 - part;
    const inner = part * rest * distances[a * n + b];
    const own = weights[a] + weights[b];
    shares[a] += shares[b];
    weights[a] = own;
    weights[b] = Number.NaN;
    loss[b] = Number.POSITIVE_INFINITY;
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (let x = 0, [p, q, at] = [a * n, b * n, a]; x < n; x++, p++, q++, at += n) {
      const distance = Math.max(0, part * distances[p] + rest * distances[q] - inner);
      distances[p] = distance;
      distances[at] = distance;
      const other = weights[x];
      const lost = (distance * own * other) / (own + other);
      if (x > a) {
        if (lost < least) {
          least = lost;
          best = x;
        }
        if (partner[x] === b) partner[x] = -1;
      } else if (x < a) {
        if (lost < loss[x]) {
          loss[x] = lost;
          partner[x] = a;
        } else if (partner[x] === a || partner[x] === b) partner[x] = -1;
      }
    }
    partner[a] = best;
    loss[a] = least;
  }

  /** Looks for the partner of a cluster among later ones: of each pair the earlier one knows. */
  #findPartner(a: number, n: number): void {
    const [distances, weights] = [this.#distances, this.#weights];
    const own = weights[a];
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (let b = a + 1, at = a * n + b; b < n; b++, at++) {
      const lost = (distances[at] * own * weights[b]) / (own + weights[b]);
      if (lost < least) {
        least = lost;
        best = b;
      }
    }
    this.#partner[a] = best;
    this.#loss[a] = least;
  }
}
