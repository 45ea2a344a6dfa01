/**
 * @file `keydiff`: keys unlike the others stay.
 */
import { AttnWeightsKVCache, type ScoreOptions } from '../attn-weights.ts';
import type { CacheShape } from '../shape.ts';
import type { GroupView, LayerView } from '../view.ts';
import { lengthOf } from './vectors.ts';

/**
 * KeyDiff (arXiv 2504.15364): −cos(k_j, u), where u is the mean of the held keys' directions k / ‖k‖. It needs no attention
 * weights. All keys are compared anew after each chunk, since u moves with every token.
 */
export class KeyDiffKVCache extends AttnWeightsKVCache {
  readonly policy = 'keydiff';
  /** The directions of a group's keys [n + T, D]. */
  #directions = new Float32Array(0);
  readonly #key: Float32Array;
  readonly #mean: Float64Array;

  constructor(shape: CacheShape, options: ScoreOptions) {
    super(shape, options);
    this.#key = new Float32Array(shape.headSize);
    this.#mean = new Float64Array(shape.headSize);
  }

  protected override score(group: GroupView, _view: LayerView): void {
    const { scores, length } = group;
    const key = this.#key;
    const mean = this.#mean.fill(0);
    const D = key.length;
    if (this.#directions.length < length * D) this.#directions = new Float32Array(Math.ceil(length * 1.25) * D);
    const directions = this.#directions;
    for (let j = 0; j < length; j++) {
      group.readKey(j, key);
      const scale = 1 / (lengthOf(key) || 1); // a key of zeros has no direction
      for (let i = 0; i < D; i++) {
        const x = key[i] * scale;
        directions[j * D + i] = x;
        mean[i] += x / length;
      }
    }
    let square = 0;
    for (let i = 0; i < D; i++) square += mean[i] * mean[i];
    const scale = -1 / (Math.sqrt(square) || 1);
    for (let j = 0; j < length; j++) {
      let dot = 0;
      for (let i = 0; i < D; i++) dot += directions[j * D + i] * mean[i];
      scores[j] = dot * scale;
    }
  }
}
