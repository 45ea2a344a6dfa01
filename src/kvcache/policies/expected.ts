/**
 * @file `expected`: what future queries are likely to look at.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { AttnWeightsKVCache, type ScoreOptions } from '../attn-weights.ts';
import type { ChunkOutputs, ObservedQueries } from '../chunk.ts';
import type { CacheShape, RotationShape } from '../shape.ts';
import { lengthOf } from '../vectors.ts';
import type { GroupView, LayerView } from '../view.ts';

export interface ExpectedOptions extends ScoreOptions {
  /** F: how many positions ahead; 512 unless stated. */
  readonly horizon?: number;
  /**
   * After so many written tokens all scores are made anew; until then new tokens are safe as recent ones. 64 unless stated, and
   * never more than `recent`. 1 follows the definition at every token, at a price: D² multiplications a slot and head.
   */
  readonly refresh?: number;
}

const HORIZON = 512;
const REFRESH = 64;

/**
 * Expected attention (arXiv 2510.00636): the mean over the group's heads of softmax_j(kᵀR̄μ·s + kᵀR̄ΣR̄ᵀk·s²/2), times ‖v_j‖₂,
 * where μ and Σ are the running mean and covariance of a head's queries before rotation, R̄ the mean rotation over the next F
 * positions, and s the attention's scale. What differs from the paper: all queries count, those of the first tokens included,
 * and the policy goes on while tokens are written.
 */
export class ExpectedAttentionKVCache extends AttnWeightsKVCache {
  readonly policy = 'expected';
  override readonly needsQueries = true;
  readonly horizon: number;
  readonly refresh: number;
  readonly #key: Float32Array;
  readonly #turned: Float64Array;
  /** Scratch of one group: a head's logits. */
  #logits = new Float64Array(0);

  /** @throws InputError for a model whose keys are rotated by frequencies that vary. */
  constructor(shape: CacheShape, options: ExpectedOptions) {
    super(shape, options, {
      sinks: 4,
      // Attention far ahead says little of the tokens next door: with an eighth, perplexity was 2.8 % above a dense cache's, not 1.9 %.
      recent: (cacheLength) => Math.floor(cacheLength / 4),
      numbers: 2 + shape.nLayer * shape.nHead * (shape.headSize + shape.headSize ** 2),
    });
    if (shape.layers.some(({ rotation }) => rotation === 'varies'))
      throw new InputError(
        "expected needs rotations that don't depend on the length of the sequence; choose another policy",
      );
    this.horizon = wholeNumber('horizon', options.horizon ?? HORIZON);
    this.refresh = Math.min(this.recent, wholeNumber('refresh', options.refresh ?? REFRESH));
    this.#key = new Float32Array(shape.headSize);
    this.#turned = new Float64Array(shape.headSize);
  }

  protected override observe(view: LayerView): void {
    const { numbers, chunk } = view;
    if (view.layer === this.firstLayer) {
      // How many queries there were, and for how many tokens the scores are old.
      numbers[0] += view.fresh;
      const old = numbers[1] < this.refresh ? numbers[1] : 0;
      numbers[1] = view.phase === 'decode' ? old + view.fresh : this.refresh;
    }
    this.#addMoments(view, chunk, chunk.queries!);
    if (numbers[1] >= this.refresh) super.observe(view);
  }

  protected override score(group: GroupView, view: LayerView): void {
    const { nHead, nQueryGroups, attentionScale: s } = this.shape;
    const R = nHead / nQueryGroups;
    const { numbers } = view;
    const { scores, length } = group;
    const mean = meanRotation(view.shape.rotation as RotationShape | null, view.place, this.horizon);
    if (this.#logits.length < R * length) this.#logits = new Float64Array(Math.ceil(R * length * 1.25));
    const logits = this.#logits;
    for (let j = 0; j < length; j++) {
      group.readKey(j, this.#key);
      turnBack(this.#key, mean, view.shape.rotation as RotationShape | null, this.#turned);
      for (let r = 0; r < R; r++) {
        const at = this.#momentsAt(view.layer, group.index * R + r);
        logits[r * length + j] = expectedLogit(numbers, at, this.#turned, numbers[0], s);
      }
    }
    scores.fill(0, 0, length);
    for (let r = 0; r < R; r++) addSoftmax(logits, r * length, length, 1 / R, scores);
    for (let j = 0; j < length; j++) {
      group.readValue(j, this.#key);
      scores[j] *= lengthOf(this.#key);
    }
  }

  /** Where a head's sums begin: Σq [D], Σqqᵀ [D, D]. */
  #momentsAt(layer: number, head: number): number {
    const { nHead, headSize: D } = this.shape;
    return 2 + (layer * nHead + head) * (D + D * D);
  }

  #addMoments({ layer, row, numbers }: LayerView, { tokens }: ChunkOutputs, queries: ObservedQueries): void {
    const { nHead, headSize: D } = this.shape;
    const lane = (queries.order[layer] * tokens.length + row) * nHead;
    for (let head = 0; head < nHead; head++) {
      const at = this.#momentsAt(layer, head);
      for (let i = 0; i < D; i++) numbers[at + i] += queries.sum[(lane + head) * D + i];
      for (let i = 0; i < D * D; i++) numbers[at + D + i] += queries.outer[(lane + head) * D * D + i];
    }
  }
}

/** Mean cos and sin of each pair over the next positions. */
function meanRotation(rotation: RotationShape | null, place: number, horizon: number): Float64Array {
  const pairs = rotation?.inverse.length ?? 0;
  const mean = new Float64Array(2 * pairs);
  for (let i = 0; i < pairs; i++) {
    for (let t = 1; t <= horizon; t++) {
      const angle = (place + t) * rotation!.inverse[i];
      mean[2 * i] += (Math.cos(angle) * rotation!.scale) / horizon;
      mean[2 * i + 1] += (Math.sin(angle) * rotation!.scale) / horizon;
    }
  }
  return mean;
}

/** R̄ᵀk */
function turnBack(key: Float32Array, mean: Float64Array, rotation: RotationShape | null, out: Float64Array): void {
  out.set(key);
  const pairs = mean.length / 2;
  for (let i = 0; i < pairs; i++) {
    const [a, b] = rotation!.interleave ? [2 * i, 2 * i + 1] : [i, i + pairs];
    const [cos, sin] = [mean[2 * i], mean[2 * i + 1]];
    out[a] = key[a] * cos + key[b] * sin;
    out[b] = key[b] * cos - key[a] * sin;
  }
}

/** k·μ·s + kᵀΣk·s²/2, from the sums of `count` queries that begin at `at`. */
function expectedLogit(numbers: Float64Array, at: number, k: Float64Array, count: number, s: number): number {
  const D = k.length;
  let linear = 0;
  for (let i = 0; i < D; i++) linear += k[i] * numbers[at + i];
  linear /= count;
  let square = 0;
  for (let i = 0; i < D; i++) {
    let row = 0;
    const from = at + D + i * D;
    for (let n = 0; n < D; n++) row += numbers[from + n] * k[n];
    square += k[i] * row;
  }
  const variance = Math.max(0, square / count - linear * linear);
  return linear * s + (variance * s * s) / 2;
}

/** out += weight · softmax(logits) */
function addSoftmax(logits: Float64Array, from: number, length: number, weight: number, out: Float64Array): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < length; j++) max = Math.max(max, logits[from + j]);
  let sum = 0;
  for (let j = 0; j < length; j++) sum += Math.exp(logits[from + j] - max);
  for (let j = 0; j < length; j++) out[j] += (weight * Math.exp(logits[from + j] - max)) / sum;
}
