/**
 * @file `h2o-vlen`: heavy hitters, by what they added to the output.
 */
import type { CacheShape } from '../shape.ts';
import { lengthOf } from '../vectors.ts';
import type { GroupView, LayerView } from '../view.ts';
import { H2OKVCache, type H2OOptions } from './h2o.ts';

/**
 * H2O with each weight times the length of the slot's value vector: S_j += m_j · ‖v_j‖₂ (the idea of awslabs/keys_values'
 * h2o-vlen). A weight on a short vector moves little.
 */
export class ValueLengthH2OKVCache extends H2OKVCache {
  override readonly policy = 'h2o-vlen';
  readonly #value: Float32Array;

  constructor(shape: CacheShape, options: H2OOptions) {
    super(shape, options, { columns: 2 });
    this.#value = new Float32Array(shape.headSize);
  }

  protected override score(group: GroupView, _view: LayerView): void {
    const {
      columns: [scores, lengths],
      weights: [sums],
      held,
      length,
    } = group;
    for (let j = held; j < length; j++) {
      group.readValue(j, this.#value);
      lengths[j] = lengthOf(this.#value);
    }
    for (let j = 0; j < length; j++) scores[j] += sums[j] * lengths[j];
  }
}
