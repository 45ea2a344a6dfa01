/**
 * @file `h2o`: heavy hitters, those that received the most attention.
 */
import { AttnWeightsKVCache, type ScoreFrame, type ScoreOptions } from '../attn-weights.ts';
import type { CacheShape } from '../shape.ts';
import type { GroupView, LayerView } from '../view.ts';

export interface H2OOptions extends ScoreOptions {
  /** Divide a score by the number of queries that could see the slot, so that age alone is no merit; true unless stated. */
  readonly normalize?: boolean;
}

/**
 * H2O (arXiv 2306.14048): S_j += m_j at every chunk, where m_j = Σ of the attention weights on slot j over the chunk's queries
 * and the group's heads. Unlike the paper, each query group decides for itself, sinks stay, the recent window is an eighth of
 * the budget, and scores are divided by the queries that could see the slot (see {@link H2OOriginalKVCache}).
 */
export class H2OKVCache extends AttnWeightsKVCache {
  readonly policy: string = 'h2o';
  readonly normalize: boolean;

  constructor(shape: CacheShape, options: H2OOptions, frame: ScoreFrame = {}) {
    super(shape, options, { needs: ['sums'], sinks: 4, ...frame });
    this.normalize = options.normalize ?? true;
  }

  protected override score({ scores, weights: [sums], length }: GroupView, _view: LayerView): void {
    for (let j = 0; j < length; j++) scores[j] += sums[j];
  }

  protected override rank({ values, scores, positions, length }: GroupView, { now }: LayerView): void {
    if (this.normalize) for (let j = 0; j < length; j++) values[j] = scores[j] / (now - positions[j] + 1);
    else for (let j = 0; j < length; j++) values[j] = scores[j];
  }
}
