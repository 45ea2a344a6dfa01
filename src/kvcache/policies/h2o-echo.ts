/**
 * @file `h2o-echo`: those that received much attention in chunks of several tokens, and would again.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { keepLarger } from '../policy/largest.ts';
import { fillMeans } from '../policy/select.ts';
import { addTo } from '../policy/vectors.ts';

/** Of a slot without any echo the attention counts so far. */
const NO_ECHO = 0.02;

/**
 * The score of `h2o`, S_j divided by the number of queries that could see j, times the score of `echo` + 0.02. Both are
 * of chunks of several tokens only. Tokens that come one by one need no attention weights and no copy of the scores:
 * they have the score 0, so they go first when they are no longer recent. {@link KVCache.scores} tells S.
 */
export const h2oEcho = definePolicy({
  name: 'h2o-echo',
  summary: 'h2o times echo, by chunks of several tokens only',
  needs: ['chunk-sums', 'echo'],
  scoresDecode: false,
  slotState: 2,
  sinks: 4,
  reads: false,
  score: ({ slotState: [sums, largest], weights: [added, echoes], length }) => {
    addTo(sums, added, length);
    keepLarger(largest, echoes, length);
    return undefined;
  },
  rank: (group, { lastPosition }) => {
    const { values, slotState, length } = group;
    const [sums, largest] = slotState;
    fillMeans(group, lastPosition, sums, Number.POSITIVE_INFINITY);
    for (let j = 0; j < length; j++) values[j] *= largest[j] + NO_ECHO;
  },
});
