/**
 * @file `expected`: what future queries are likely to look at.
 */
import { wholeNumber } from '../../util/numbers.ts';
import type { ScoredPolicyOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';
import { refreshing, refuseVaryingRotation, SINKS } from '../policy/refresh.ts';
import { addOuter, lengthOf, quadratic, Scratch } from '../policy/vectors.ts';
import type { LayerView } from '../policy/view.ts';
import type { RotationShape } from '../shape.ts';

export interface ExpectedOptions extends ScoredPolicyOptions {
  /** F: how many positions ahead. @default 512 */
  readonly horizon?: number;
  /**
   * After so many written tokens all scores are made anew; until then new tokens are safe as recent ones. Never more
   * than `recent`. 1 follows the definition at every token, at a price: D² multiplications a slot and head.
   * @default 64
   */
  readonly refresh?: number;
}

const HORIZON = 512;

/** Most queries that wait: a quarter of the memory of a head's sums at 64 dimensions. */
const MOST_KEPT = 63;

/**
 * Attention far ahead says little of near tokens: with N/8, perplexity was 2.8 % above a dense cache's, with N/4 1.9 %.
 */
const usualRecent = (cacheLength: number): number => Math.floor(cacheLength / 4);

/**
 * Expected attention (arXiv 2510.00636): the mean over the group's heads of softmax_j(kᵀR̄μ·s + kᵀR̄ΣR̄ᵀk·s²/2), times
 * ‖v_j‖₂, where μ and Σ are the running mean and covariance of a head's queries before rotation, R̄ the mean rotation
 * over the next F positions, and s the attention's scale. What differs from the paper: all queries count, those of the
 * first tokens included, and the policy goes on while tokens are written.
 */
export const expectedAttention = definePolicy<ExpectedOptions>({
  name: 'expected',
  summary: 'what future queries are likely to look at',
  options: {
    horizon: 'how many positions ahead',
    refresh: 'after so many written tokens all scores are made anew',
  },
  setup: ({ shape, options, cacheLength }) => {
    refuseVaryingRotation('expected', shape);
    const horizon = wholeNumber('horizon', options.horizon ?? HORIZON);
    const { rules, refresh, isDue } = refreshing(options, cacheLength, usualRecent);
    const scratch = new Scratch();
    return {
      needsQueries: true,
      sinks: SINKS,
      ...rules,
      // Of each head: Σq [D], and the upper half of Σqqᵀ [D, D].
      layerState: (layer) => shape.layers[layer].heads * momentsOf(shape.layers[layer].keySize),
      // Sums are read where scores are made anew: until then the queries of single tokens wait, and are added up
      // together.
      keepsLayerState: ({ newTokens, rowState }) => newTokens === 1 && !isDue(rowState),
      mostKeptChunks: Math.min(MOST_KEPT, refresh - 1),
      observe: (layer) => {
        if (layer.nextLayerState !== layer.layerState) addMoments(layer, scratch);
      },
      score: (group, layer) => {
        if (!isDue(layer.rowState)) return undefined;
        const { heads, layerShape, rowState, nextLayerState, keySize, valueSize } = layer;
        const { scores, length } = group;
        const rotation = layerShape.rotation as RotationShape | null;
        const mean = meanRotation(rotation, layer.ropePosition, horizon);
        const logits = scratch.numbers(heads * length);
        const [key, value] = [scratch.vector(keySize), scratch.vector(valueSize, 1)];
        const turned = scratch.sums(keySize);
        for (let j = 0; j < length; j++) {
          group.readKey(j, key);
          turnBack(key, mean, rotation, turned);
          for (let r = 0; r < heads; r++) {
            const at = (group.index * heads + r) * momentsOf(keySize);
            logits[r * length + j] = expectedLogit(nextLayerState, at, turned, rowState[0], layerShape.attentionScale);
          }
        }
        scores.fill(0, 0, length);
        for (let r = 0; r < heads; r++) addSoftmax(logits, r * length, length, 1 / heads, scores);
        for (let j = 0; j < length; j++) {
          group.readValue(j, value);
          scores[j] *= lengthOf(value);
        }
        return undefined;
      },
    };
  },
});

const momentsOf = (size: number): number => size + size ** 2;

/** Adds the queries that have waited, and those of the chunk. */
function addMoments(layer: LayerView, scratch: Scratch): void {
  const { row, newTokens, layerShape, chunk, layerState, nextLayerState, keptQueries } = layer;
  const { heads, keySize: D } = layerShape;
  const sum = chunk.queries!.sum[layer.layer]!;
  const own = sum.subarray(row * heads * D, (row + 1) * heads * D);
  const single = newTokens === 1 ? [...keptQueries, own] : keptQueries;
  const queries = scratch.numbers(single.length * D);
  nextLayerState.set(layerState);
  for (let head = 0; head < heads; head++) {
    const at = head * momentsOf(D);
    single.forEach((query, n) => {
      for (let i = 0; i < D; i++) queries[n * D + i] = query[head * D + i];
    });
    for (let n = 0; n < single.length; n++) for (let i = 0; i < D; i++) nextLayerState[at + i] += queries[n * D + i];
    addOuter(queries, single.length, D, nextLayerState, at + D);
    if (newTokens === 1) continue;
    const outer = chunk.queries!.outer[layer.layer]!;
    const from = (row * heads + head) * D * D;
    for (let i = 0; i < D; i++) nextLayerState[at + i] += own[head * D + i];
    for (let i = 0; i < D; i++)
      for (let j = i; j < D; j++) nextLayerState[at + D + i * D + j] += outer[from + i * D + j];
  }
}

/** Mean cos and sin of each pair over the next positions. */
function meanRotation(rotation: RotationShape | null, position: number, horizon: number): Float64Array {
  const pairs = rotation?.inverse.length ?? 0;
  const mean = new Float64Array(2 * pairs);
  for (let i = 0; i < pairs; i++) {
    for (let t = 1; t <= horizon; t++) {
      const angle = (position + t) * rotation!.inverse[i];
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
  const square = quadratic(numbers, at + D, k);
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
