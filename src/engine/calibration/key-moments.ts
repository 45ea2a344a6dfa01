/**
 * @file Second moments of the queries and keys of one layer's groups, over texts.
 */
import { packTriangle } from '../../kvcache/buffers/key-transforms.ts';
import type { LayerShape } from '../../kvcache/shape.ts';
import type { LayerProbe } from '../../step/probe.ts';
import { balancingTriangle } from './balancing.ts';

export class KeyMoments {
  readonly #shape: LayerShape;
  /** Σ q·qᵀ and Σ k·kᵀ [G, D, D]. */
  readonly #queries: Float64Array;
  readonly #keys: Float64Array;

  constructor(shape: LayerShape) {
    const size = shape.groups * shape.keySize ** 2;
    this.#shape = shape;
    this.#queries = new Float64Array(size);
    this.#keys = new Float64Array(size);
  }

  /** @param from index of the chunk's first token that counts, as the probe was told. */
  add({ keys, queryProducts }: LayerProbe, from: number): void {
    if (!queryProducts) return;
    const { groups, heads, keySize: D } = this.#shape;
    const square = D * D;
    for (let i = 0; i < queryProducts.length; i++)
      this.#queries[Math.floor((i * groups) / (heads * square)) * square + (i % square)] += queryProducts[i];
    const tokens = keys.length / groups / D;
    for (let g = 0; g < groups; g++)
      for (let t = from; t < tokens; t++) {
        const at = (g * tokens + t) * D;
        for (let a = 0; a < D; a++) {
          const x = keys[at + a];
          const row = g * square + a * D;
          for (let b = 0; b < D; b++) this.#keys[row + b] += x * keys[at + b];
        }
      }
  }

  /** What a group's keys are to be multiplied by, packed; undefined where they are values, too. */
  triangle(group: number): string | undefined {
    const { keySize: D, valueSize } = this.#shape;
    if (valueSize === 0) return undefined;
    const of = (moments: Float64Array) => moments.subarray(group * D * D, (group + 1) * D * D);
    return packTriangle(balancingTriangle(of(this.#queries), of(this.#keys), D), D);
  }
}
