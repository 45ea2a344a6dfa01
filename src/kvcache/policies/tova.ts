/**
 * @file `tova`: what the newest token looks at.
 */
import { AttnWeightsKVCache, type ScoreOptions } from '../attn-weights.ts';
import type { CacheShape } from '../shape.ts';
import type { GroupView, LayerView } from '../view.ts';

/**
 * TOVA (arXiv 2401.06104): the weights of the chunk's last query, as a mean over all heads of the layer: one decision for all
 * groups. The newest token always stays.
 */
export class TovaKVCache extends AttnWeightsKVCache {
  readonly policy = 'tova';

  constructor(shape: CacheShape, options: ScoreOptions) {
    super(shape, options, { needs: ['last-query'], perGroup: false, recent: () => 1 });
  }

  protected override score({ scores, weights: [last], length }: GroupView, { heads }: LayerView): void {
    for (let j = 0; j < length; j++) scores[j] = last[j] / heads;
  }
}
