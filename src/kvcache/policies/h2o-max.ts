/**
 * @file `h2o-max`: those that some query attended to most.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { largestSoFar } from '../policy/largest.ts';

/**
 * S_j = the largest attention weight that any query so far and any head of the group has paid to slot j, where `h2o`
 * has their sum. A slot that one query needed badly stays, however little all others look at it. It is not divided by
 * the number of queries: age alone adds little to a maximum.
 */
export const h2oMax = definePolicy({
  name: 'h2o-max',
  summary: 'those that some query attended to most',
  needs: ['max'],
  ...largestSoFar,
});
