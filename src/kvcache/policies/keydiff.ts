/**
 * @file `keydiff`: keys unlike the others stay.
 */
import { AttnWeightsKVCache, type ScoreOptions } from '../attn-weights.ts';
import type { CacheShape } from '../shape.ts';
import { addWeighted, dotAt, lengthOf } from '../vectors.ts';
import type { GroupView, LayerView } from '../view.ts';

/** Columns: the score, and 1 / ‖k‖, 0 where it is not known yet. */
const COLUMNS = 2;

/**
 * KeyDiff (arXiv 2504.15364): −cos(k_j, u), where u is the mean of the held keys' directions k / ‖k‖. It needs no attention
 * weights. All keys are compared anew after each chunk, since u moves with every token.
 */
export class KeyDiffKVCache extends AttnWeightsKVCache {
  readonly policy = 'keydiff';
  /** A group's keys [n + T, D]. */
  #keys = new Float32Array(0);
  readonly #mean: Float64Array;

  constructor(shape: CacheShape, options: ScoreOptions) {
    super(shape, options, { columns: COLUMNS });
    this.#mean = new Float64Array(shape.headSize);
  }

  protected override score(group: GroupView, _view: LayerView): void {
    const { columns, length } = group;
    const [scores, inverse] = columns;
    const mean = this.#mean.fill(0);
    const D = mean.length;
    if (this.#keys.length < length * D) this.#keys = new Float32Array(Math.ceil(length * 1.25) * D);
    const keys = this.#keys;
    group.readKeys(keys);
    for (let j = 0; j < length; j++) if (inverse[j] === 0) inverse[j] = 1 / (lengthOf(keys, j * D, D) || 1); // a key of zeros has no direction
    addWeighted(keys, inverse, length, mean);
    // The cosine does not ask how long u is: the sum does for the mean.
    const scale = -1 / (lengthOf(mean) || 1);
    for (let j = 0; j < length; j++) scores[j] = dotAt(keys, j * D, mean) * inverse[j] * scale;
  }
}
