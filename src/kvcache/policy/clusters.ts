/**
 * @file Joins points two by two, those first that lose least by it: hierarchical clustering after Ward.
 */
import type { KeyProducts } from '../shape.ts';
import { hostProducts } from './vectors.ts';

/**
 * Points to be joined. The arrays may be longer. It takes least where those that weigh less come first: a light point is
 * the best partner of many, and all of them lose it once it is joined.
 */
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
  /** Products of the means: row `a` begins at `a * #stride`. */
  #products: Float32Array | Float64Array = new Float64Array(0);
  #stride = 0;
  /** Halves of the means' products with themselves: ‖m_a − m_b‖² / 2 = half_a + half_b − product. */
  #halves = new Float64Array(0);
  #shares = new Float64Array(0);
  /** 1 / weight; NaN for one that was joined into another: so no loss with it is the least. */
  #inverses = new Float64Array(0);
  /** With which later cluster each would be joined for the least loss; −1: it is to be looked for … */
  #partner = new Int32Array(0);
  /** … and that loss; where the partner is to be looked for, a loss that it is not below. */
  #loss = new Float64Array(0);
  readonly #multiply: KeyProducts;

  /** @param multiply @default the host multiplies points */
  constructor(multiply: KeyProducts = hostProducts) {
    this.#multiply = multiply;
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
      const [stays, goes] = this.#inverses[one] > this.#inverses[other] ? [other, one] : [one, other];
      into[goes] = stays;
      this.#joinTwo(stays, goes, n);
    }
    return into;
  }

  #start({ count: n, size, coordinates, shares, weights }: Points): void {
    if (this.#loss.length < n) {
      const length = Math.ceil(1.25 * n);
      this.#shares = new Float64Array(length);
      this.#halves = new Float64Array(length);
      this.#inverses = new Float64Array(length);
      this.#loss = new Float64Array(length);
      this.#partner = new Int32Array(length);
    }
    const { products, stride } = this.#multiply(coordinates, n, size);
    this.#products = products;
    this.#stride = stride;
    for (let a = 0; a < n; a++) {
      this.#shares[a] = shares[a];
      this.#inverses[a] = 1 / weights[a];
      this.#halves[a] = products[a * stride + a] / 2;
    }
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
    const [products, halves, shares, stride] = [this.#products, this.#halves, this.#shares, this.#stride];
    const [inverses, partner, loss] = [this.#inverses, this.#partner, this.#loss];
    const part = shares[a] / (shares[a] + shares[b]);
    const rest = 1 - part;
    const inner = products[a * stride + b];
    const half = part * part * halves[a] + rest * rest * halves[b] + part * rest * inner;
    const own = 1 / (1 / inverses[a] + 1 / inverses[b]);
    halves[a] = half;
    shares[a] += shares[b];
    inverses[a] = own;
    inverses[b] = Number.NaN;
    loss[b] = Number.POSITIVE_INFINITY;
    // Products with the mean of both are means of the products with the two.
    for (let x = 0, [p, q, at] = [a * stride, b * stride, a]; x < a; x++, p++, q++, at += stride) {
      const product = part * products[p] + rest * products[q];
      products[p] = product;
      products[at] = product;
      const distance = half + halves[x] - product;
      const factor = own + inverses[x];
      if (distance < loss[x] * factor) {
        loss[x] = distance / factor;
        partner[x] = a;
      } else if (partner[x] === a || partner[x] === b) partner[x] = -1;
    }
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (
      let x = a + 1, [p, q, at] = [a * stride + x, b * stride + x, a + x * stride];
      x < n;
      x++, p++, q++, at += stride
    ) {
      const product = part * products[p] + rest * products[q];
      products[p] = product;
      products[at] = product;
      const distance = half + halves[x] - product;
      const factor = own + inverses[x];
      if (distance < least * factor) {
        least = distance / factor;
        best = x;
      }
      if (partner[x] === b) partner[x] = -1;
    }
    partner[a] = best;
    loss[a] = least;
  }

  /** Looks for the partner of a cluster among later ones: of each pair the earlier one knows. */
  #findPartner(a: number, n: number): void {
    const [products, halves, inverses] = [this.#products, this.#halves, this.#inverses];
    const [half, own] = [halves[a], inverses[a]];
    let [best, least] = [-1, Number.POSITIVE_INFINITY];
    for (let b = a + 1, at = a * this.#stride + b; b < n; b++, at++) {
      const distance = half + halves[b] - products[at];
      const factor = own + inverses[b];
      // A division for each took most of the time.
      if (distance < least * factor) {
        least = distance / factor;
        best = b;
      }
    }
    this.#partner[a] = best;
    this.#loss[a] = least;
  }
}
