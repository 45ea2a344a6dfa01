/**
 * @file `expected`: what future queries are likely to look at.
 */
import { wholeNumber } from '../../util/numbers.ts';
import type { ScoredPolicyOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';
import type { GroupView } from '../policy/group-view.ts';
import { refreshing, refuseVaryingRotation, SINKS } from '../policy/refresh.ts';
import { addOuter, hostForms, lengthOf, Scratch } from '../policy/vectors.ts';
import type { LayerView } from '../policy/view.ts';
import type { KeyForms, RotationShape } from '../shape.ts';

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
        const { heads, valueSize } = layer;
        const { scores, length } = group;
        const logits = expectedLogits(group, layer, horizon, scratch, shape.keyMath?.forms ?? hostForms);
        scores.fill(0, 0, length);
        for (let r = 0; r < heads; r++) addSoftmax(logits, r, heads, length, scores);
        const value = scratch.vector(valueSize);
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

/** What a rotation does to two numbers, on average over positions. */
interface MeanPair {
  readonly a: number;
  readonly b: number;
  readonly cos: number;
  readonly sin: number;
}

/** R̄: the mean rotation over the next `horizon` positions. */
function meanRotation(rotation: RotationShape | null, position: number, horizon: number): MeanPair[] {
  if (!rotation) return [];
  const { inverse, scale, interleave } = rotation;
  return Array.from(inverse, (angle, i) => {
    const [a, b] = interleave ? [2 * i, 2 * i + 1] : [i, i + inverse.length];
    // The sum of a geometric series of e^(i·angle).
    const half = Math.sin(angle / 2);
    const size = half === 0 ? scale : (scale * Math.sin((horizon * angle) / 2)) / (horizon * half);
    const middle = (position + (horizon + 1) / 2) * angle;
    return { a, b, cos: size * Math.cos(middle), sin: size * Math.sin(middle) };
  });
}

/**
 * What each head of a group is expected to score its candidates with, [length, heads]: kᵀR̄μ·s + kᵀR̄ΣR̄ᵀk·s²/2, as
 * forms of the keys as they are stored.
 */
function expectedLogits(
  group: GroupView,
  layer: LayerView,
  horizon: number,
  scratch: Scratch,
  keyForms: KeyForms,
): ReturnType<KeyForms> {
  const { heads, keySize: D, rowState, nextLayerState, layerShape, ropePosition } = layer;
  const matrices = scratch.sums(heads * D * D);
  const vectors = scratch.sums(heads * D, 1);
  const mean = meanRotation(layerShape.rotation as RotationShape | null, ropePosition, horizon);
  for (let r = 0; r < heads; r++) {
    const at = (group.index * heads + r) * momentsOf(D);
    const matrix = matrices.subarray(r * D * D, (r + 1) * D * D);
    const vector = vectors.subarray(r * D, (r + 1) * D);
    fillForm(nextLayerState, at, rowState[0], layerShape.attentionScale, matrix, vector);
    turn(vector, 1, D, 1, mean);
    // Its columns, and then its rows.
    turn(matrix, D, 1, D, mean);
    turn(matrix, D, D, 1, mean);
  }
  const keys = scratch.growing(group.length * D);
  group.readKeys(keys);
  return keyForms(keys, group.length, D, matrices, vectors);
}

/** Σ·s²/2 and μ·s, from the sums of `count` queries that begin at `at`. */
function fillForm(
  sums: Float64Array,
  at: number,
  count: number,
  s: number,
  matrix: Float64Array,
  vector: Float64Array,
): void {
  const D = vector.length;
  for (let i = 0; i < D; i++) {
    const row = at + D + i * D;
    for (let j = i; j < D; j++) {
      const covariance = sums[row + j] / count - (sums[at + i] / count) * (sums[at + j] / count);
      matrix[i * D + j] = (covariance * s * s) / 2;
      matrix[j * D + i] = matrix[i * D + j];
    }
    vector[i] = (sums[at + i] / count) * s;
  }
}

/** Turns `count` vectors by R̄, in place: number i of the n-th is `x[n · next + i · step]`. */
function turn(x: Float64Array, count: number, next: number, step: number, mean: readonly MeanPair[]): void {
  for (const { a, b, cos, sin } of mean)
    for (let n = 0; n < count; n++) {
      const [p, q] = [n * next + a * step, n * next + b * step];
      const [u, v] = [x[p], x[q]];
      x[p] = u * cos - v * sin;
      x[q] = u * sin + v * cos;
    }
}

/**
 * out += one head's part of the mean of softmax(logits) over heads. The logits are overwritten.
 * @param logits [length, heads]
 */
function addSoftmax(
  logits: ReturnType<KeyForms>,
  head: number,
  heads: number,
  length: number,
  out: Float64Array,
): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < length; j++) max = Math.max(max, logits[j * heads + head]);
  let sum = 0;
  for (let j = 0; j < length; j++) {
    const weight = Math.exp(logits[j * heads + head] - max);
    logits[j * heads + head] = weight;
    sum += weight;
  }
  for (let j = 0; j < length; j++) out[j] += logits[j * heads + head] / (sum * heads);
}
