/**
 * @file `leverage`: keys that the others can't stand for.
 */
import type { ScoredPolicyOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';
import { refreshing, refuseVaryingRotation, SINKS } from '../policy/refresh.ts';
import { decompose, Scratch, solvedLength } from '../policy/vectors.ts';
import type { LayerView } from '../policy/view.ts';

export interface LeverageOptions extends ScoredPolicyOptions {
  /**
   * After so many written tokens all scores are made anew; until then new tokens are safe as recent ones. Never more
   * than `recent`.
   * @default 64
   */
  readonly refresh?: number;
}

/** λ, in parts of the mean diagonal of M. */
const RIDGE = 0.01;
/** Keys that differ by less, in parts of their mean square, are the same: what differs is rounding. */
const SAME = 1e-9;

const usualRecent = (cacheLength: number): number => Math.floor(cacheLength / 8);

/**
 * Leverage scores (Compactor, arXiv 2507.08143, without its random projection): x = unrotated key − mean of all
 * unrotated keys seen; M = Σ x xᵀ over all keys seen, evicted ones included; score = xᵀ (M + λI)⁻¹ x with
 * λ = 0.01 × the mean diagonal of M. A key far from all others, or in a direction that few of them have, stays. It
 * needs no attention weights.
 */
export const leverage = definePolicy<LeverageOptions>({
  name: 'leverage',
  summary: 'keys that the others can not stand for',
  options: { refresh: 'after so many written tokens all scores are made anew' },
  sinks: SINKS,
  slotStateType: 'float32',
  setup: ({ shape, options, cacheLength }) => {
    refuseVaryingRotation('leverage', shape);
    const { rules, isDue } = refreshing(options, cacheLength, usualRecent);
    const scratch = new Scratch();
    return {
      ...rules,
      // Of each group: Σk [D], and the lower half of Σkkᵀ, row by row.
      layerState: (layer) => shape.layers[layer].groups * sumsOf(shape.layers[layer].keySize),
      observe: (layer) => addKeys(layer, scratch),
      score: ({ index, scores, length, readPlainKey }, { rowState, nextLayerState, keySize: D }) => {
        if (!isDue(rowState)) return undefined;
        const from = index * sumsOf(D);
        const mean = scratch.sums(D);
        for (let i = 0; i < D; i++) mean[i] = nextLayerState[from + i] / rowState[0];
        const factor = scratch.numbers(D * D);
        scores.fill(0, 0, length);
        if (!covariance(nextLayerState, from + D, mean, rowState[0], factor)) return undefined;
        decompose(factor, D);
        const key = scratch.vector(D);
        const x = scratch.sums(D, 1);
        for (let j = 0; j < length; j++) {
          readPlainKey(j, key);
          for (let i = 0; i < D; i++) x[i] = key[i] - mean[i];
          scores[j] = solvedLength(factor, x);
        }
        return undefined;
      },
    };
  },
});

const sumsOf = (size: number): number => size + (size * (size + 1)) / 2;

/** Adds the chunk's keys, as the model made them and before they were rotated. */
function addKeys({ groups, layerState, nextLayerState, keySize: D }: LayerView, scratch: Scratch): void {
  nextLayerState.set(layerState);
  const key = scratch.vector(D);
  for (const { index, held, length, readPlainKey } of groups) {
    const from = index * sumsOf(D);
    for (let j = held; j < length; j++) {
      readPlainKey(j, key, true);
      let row = from + D;
      for (let a = 0; a < D; row += ++a) {
        nextLayerState[from + a] += key[a];
        for (let b = 0; b <= a; b++) nextLayerState[row + b] += key[a] * key[b];
      }
    }
  }
}

/** out = the lower half of M + λI [D, D]. @returns false where all keys are the same. */
function covariance(sums: Float64Array, from: number, mean: Float64Array, count: number, out: Float64Array): boolean {
  const D = mean.length;
  let [squares, spread] = [0, 0];
  let row = from;
  for (let a = 0; a < D; row += ++a)
    for (let b = 0; b <= a; b++) {
      out[a * D + b] = sums[row + b] - count * mean[a] * mean[b];
      if (a === b) [squares, spread] = [squares + sums[row + a], spread + out[a * D + a]];
    }
  if (!(spread > SAME * squares)) return false;
  for (let a = 0; a < D; a++) out[a * D + a] += (RIDGE * spread) / D;
  return true;
}
