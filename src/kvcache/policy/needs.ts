/**
 * @file What a policy may ask the step for besides keys and values: attention weights, in the ways in which they are
 * reduced.
 */

/**
 * How the weights of several queries, and of the heads of a group, become one number: their sum; their maximum; or the
 * maximum of what they would be if the chunk were read once more.
 */
export type Reduction = 'sum' | 'max' | 'echo';

/**
 * Attention weights that a policy may ask the step for: `sums` over all of the chunk's queries; `chunk-sums`, the same;
 * `sampled-sums` over every fourth of them, which take a part of the time; of its `last-query`; summed over as many of
 * its last queries as the policy's `window` is long; the `max` of all of the chunk's queries; or their `echo`: the
 * maximum of what they would pay if the chunk were read once more, right behind itself; or the `own-echo`: that of the
 * chunk's own tokens alone, and 0 for those that are held. Sums are over the query heads of a group, too, and so are
 * maxima. Of tokens that come one by one, or that may be taken back, there is neither an echo nor a sum of a chunk: they
 * are 0 then, and take no time.
 */
export type Need = 'sums' | 'chunk-sums' | 'sampled-sums' | 'last-query' | 'window' | 'max' | 'echo' | 'own-echo';

export const REDUCTIONS: Readonly<Record<Need, Reduction>> = {
  sums: 'sum',
  'chunk-sums': 'sum',
  'sampled-sums': 'sum',
  'last-query': 'sum',
  window: 'sum',
  max: 'max',
  echo: 'echo',
  'own-echo': 'echo',
};

/** From a query that counts for `sampled-sums` to the next one. */
const SAMPLING = 4;

/** From a query that counts for a sum to the next one; the first of a need's queries counts. */
export const queryStep = (need: Need): number => (need === 'sampled-sums' ? SAMPLING : 1);

/** Needs that only chunks of several tokens have, which stay whole. */
export const isOfChunks = (need: Need): boolean =>
  need === 'chunk-sums' || queryStep(need) > 1 || REDUCTIONS[need] === 'echo';

/** From a query that counts for any of a policy's sums, if there are some, to the next one. */
export const queryStepOf = (needs: readonly Need[]): number =>
  Math.min(SAMPLING, ...needsBy('sum', needs).map(queryStep));

/** A need, and its index among those of its reduction. */
export interface NeededSet {
  readonly need: Need;
  readonly reduction: Reduction;
  readonly index: number;
}

/** A policy's needs, each with where the step gives it. */
export function neededSets(needs: readonly Need[]): NeededSet[] {
  return needs.map((need) => {
    const reduction = REDUCTIONS[need];
    // One echo serves both needs for it.
    return { need, reduction, index: reduction === 'echo' ? 0 : needsBy(reduction, needs).indexOf(need) };
  });
}

/** Whether one of a policy's needs is made by this reduction. */
export const asksFor = (reduction: Reduction, needs: readonly Need[]): boolean =>
  needs.some((need) => REDUCTIONS[need] === reduction);

/** Those of a policy's needs that are made by one reduction, in their order. */
export function needsBy(reduction: Reduction, needs: readonly Need[]): Need[] {
  return needs.filter((need) => REDUCTIONS[need] === reduction);
}
