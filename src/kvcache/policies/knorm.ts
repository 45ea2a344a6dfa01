/**
 * @file `knorm`: short keys stay.
 */
import { AttnWeightsKVCache, type ScoreOptions } from '../attn-weights.ts';
import type { CacheShape } from '../shape.ts';
import { lengthOf } from '../vectors.ts';
import type { GroupView, LayerView } from '../view.ts';

/**
 * Key norm (arXiv 2406.11430): keys with a large norm tend to get little attention, so the score is −‖k_j‖₂. It needs no
 * attention weights. What differs from the paper: no layers are left out.
 */
export class KeyNormKVCache extends AttnWeightsKVCache {
  readonly policy = 'knorm';
  readonly #key: Float32Array;

  constructor(shape: CacheShape, options: ScoreOptions) {
    super(shape, options);
    this.#key = new Float32Array(shape.headSize);
  }

  protected override score(group: GroupView, _view: LayerView): void {
    for (let j = group.held; j < group.length; j++) {
      group.readKey(j, this.#key);
      group.scores[j] = -lengthOf(this.#key);
    }
  }
}
