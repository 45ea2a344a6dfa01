/**
 * @file Second moments of the queries of a layer's groups over texts, and how keys are rounded by them.
 */
import type { KeyRounding } from '../../kvcache/buffers/key-rounding.ts';
import type { LayerShape } from '../../kvcache/shape.ts';
import type { LayerProbe } from '../../step/probe.ts';
import { toBase64 } from '../../util/base64.ts';
import { narrow } from '../../util/half.ts';
import { range } from '../../util/numbers.ts';

/** Part of its mean that is added to a diagonal: what texts do not show is not rounded too boldly. */
const SHRINKAGE = 0.1;

export class QueryMoments {
  readonly #shape: LayerShape;
  /** By group: Σ q·qᵀ [D, D] of its heads, of rotated queries. */
  readonly #sums: readonly Float64Array[];
  #isMeasured = false;

  constructor(shape: LayerShape) {
    this.#shape = shape;
    this.#sums = range(shape.groups).map(() => new Float64Array(shape.keySize ** 2));
  }

  add({ queryProducts }: Pick<LayerProbe, 'queryProducts'>): void {
    if (!queryProducts) return;
    this.#isMeasured = true;
    const { groups, heads } = this.#shape;
    const square = this.#shape.keySize ** 2;
    for (const head of range(heads)) {
      const sum = this.#sums[Math.floor((head * groups) / heads)];
      for (let i = 0; i < square; i++) sum[i] += queryProducts[head * square + i];
    }
  }

  /** By group; null: of latent attention. */
  roundings(): readonly KeyRounding[] | null {
    const { keySize } = this.#shape;
    if (!this.#isMeasured) return null;
    return this.#sums.map((sum) => {
      const numbers = feedback(shrunk(sum, keySize), keySize);
      return { feedback: toBase64(narrow(numbers, 'F16')) };
    });
  }
}

/** M by its mean diagonal, with a part of that added; the identity in place of zeros. */
function shrunk(moments: Float64Array, size: number): Float64Array {
  const trace = range(size).reduce((sum, i) => sum + moments[i * (size + 1)], 0);
  // A model whose numbers are none says nothing of its queries.
  const scale = trace > 0 && trace < Number.POSITIVE_INFINITY ? size / trace : 0;
  const more = scale > 0 ? SHRINKAGE : 1;
  return moments.map((x, at) => (scale > 0 ? x * scale : 0) + (at % (size + 1) === 0 ? more : 0));
}

/**
 * The feedback of `roundNumbers` for errors eᵀMe: where M = R·Rᵀ, with R upper triangular, the rows of R⁻¹ divided by
 * their diagonals, without these.
 */
export function feedback(moments: Float64Array, size: number): Float32Array {
  const R = new Float64Array(size * size);
  for (let j = size - 1; j >= 0; j--)
    for (let i = j; i >= 0; i--) {
      let sum = moments[i * size + j];
      for (let n = j + 1; n < size; n++) sum -= R[i * size + n] * R[j * size + n];
      R[i * size + j] = i === j ? Math.sqrt(sum) : sum / R[j * size + j];
    }
  // Row i of the inverse times R's diagonal number i: what solves f·R = R's diagonal number of row i, from left to right.
  const rows = new Float32Array((size * (size - 1)) / 2);
  const row = new Float64Array(size);
  for (let i = 0, at = 0; i < size; i++) {
    row[i] = 1;
    for (let j = i + 1; j < size; j++) {
      let sum = 0;
      for (let n = i; n < j; n++) sum -= row[n] * R[n * size + j];
      row[j] = sum / R[j * size + j];
      rows[at++] = row[j];
    }
  }
  return rows;
}
