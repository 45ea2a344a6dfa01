/**
 * @file `h2o`: heavy hitters, those that received the most attention; and `h2o-orig`, as published.
 */
import type { ScoredPolicyOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';
import type { PolicyRules } from '../policy/policy.ts';
import { addTo } from '../policy/vectors.ts';

/** Options of `h2o` and its kin. */
export interface H2OOptions extends ScoredPolicyOptions {
  /** Divide a score by the number of queries that could see the slot, so that age alone is no merit. @default true */
  readonly normalize?: boolean;
}

export const NORMALIZE = { normalize: 'divide a score by the number of queries that could see the slot' };

/** The rules of all heavy hitters. */
export function heavyHitters(normalize = true): PolicyRules {
  return {
    needs: ['sums'],
    sinks: 4,
    reads: false,
    score: ({ scores, weights: [sums], length }) => {
      addTo(scores, sums, length);
      return undefined;
    },
    countedQueries: () => (normalize ? Number.POSITIVE_INFINITY : 1),
  };
}

/**
 * H2O (arXiv 2306.14048): S_j += m_j at every chunk, where m_j = Σ of the attention weights on slot j over the chunk's
 * queries and the group's heads. Unlike the paper, each query group decides for itself, sinks stay, the recent window
 * is an eighth of the budget, and scores are divided by the queries that could see the slot (see {@link h2oOriginal}).
 */
export const h2o = definePolicy<H2OOptions>({
  name: 'h2o',
  summary: 'those that received the most attention',
  options: NORMALIZE,
  setup: ({ options }) => heavyHitters(options.normalize),
});

/**
 * H2O as published: attention summed and not normalized, half of the budget for recent tokens, no sinks. What differs:
 * query groups decide for themselves, not heads (heads of a group share their slots).
 */
export const h2oOriginal = definePolicy<H2OOptions>({
  name: 'h2o-orig',
  summary: 'h2o as published: not normalized, half of the budget recent',
  options: NORMALIZE,
  setup: ({ options }) => ({
    ...heavyHitters(options.normalize ?? false),
    sinks: 0,
    recent: (cacheLength) => Math.floor(cacheLength / 2),
  }),
});
