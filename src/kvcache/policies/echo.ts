/**
 * @file `echo`: those that the text would look at if it were read once more.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { largestSoFar } from '../policy/largest.ts';

/**
 * Echo (after EchoPress, arXiv 2610.00412, in a stream): the queries of each chunk, rotated behind it as if the chunk
 * were read again, look at all slots and at the whole chunk. Their causal scores on the chunk stand for its copy, in
 * the same softmax. S_j = the largest weight that any of them and any head of the group pays to slot j, in this chunk
 * or an earlier one. What a text would use of itself stays, however little was looked at it before it was needed.
 * Tokens that are written one by one are not read again, so they start with 0. Without rotary positions the queries are
 * the same as before (distances of ALiBi count).
 */
export const echo = definePolicy({
  name: 'echo',
  summary: 'those that the text would look at if it were read once more',
  needs: ['echo'],
  // Of a token alone there is no echo.
  scoresDecode: false,
  ...largestSoFar,
});
