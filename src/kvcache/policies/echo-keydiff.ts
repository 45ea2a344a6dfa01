/**
 * @file `echo-keydiff`: those that their chunk would look at if it were read once more, and whose keys are unlike its
 * other keys.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { addDirection, dotAt, lengthOf, Scratch } from '../policy/vectors.ts';

/** How much it counts that a key is unlike the others: a factor of e⁶ between cosines of 0 and 1. */
const CONTRAST = 6;

/**
 * S_j = e_j · exp(−6 cos(k_j, u_j)) of the chunk that brings token j: e_j is the largest weight that any query of the
 * chunk and any head of the group would pay to j if the chunk were read once more (as in `echo`), and u_j the mean of
 * the directions k / ‖k‖ of the chunk's other keys (as in `keydiff`). S_j stays as it is. Tokens that come one by one
 * have the score 0, so they go first when they are no longer recent.
 */
export const echoKeyDiff = definePolicy({
  name: 'echo-keydiff',
  summary: 'echo in the own chunk, of keys unlike the others there',
  needs: ['own-echo'],
  slotStateType: 'float32',
  sinks: 4,
  scoredByLater: false,
  readsSingles: false,
  setup: () => {
    const scratch = new Scratch();
    return {
      score: ({ scores, weights: [echoes], held, length, readExactKey }, { keySize: D }) => {
        const count = length - held;
        const keys = scratch.growing(count * D);
        const sum = scratch.sums(D);
        sum.fill(0);
        for (let t = 0; t < count; t++) {
          const key = keys.subarray(t * D, (t + 1) * D);
          readExactKey(held + t, key);
          addDirection(sum, 0, key, 1);
        }
        const sumLength = lengthOf(sum);
        for (let t = 0; t < count; t++) {
          const along = dotAt(keys, t * D, sum) / (lengthOf(keys, t * D, D) || 1);
          // Of the sum less the key's own direction: its product with it, and its length.
          const others = Math.sqrt(Math.max(0, sumLength ** 2 - 2 * along + 1));
          const cosine = others > 0 ? (along - 1) / others : 0;
          scores[held + t] = echoes[held + t] * Math.exp(-CONTRAST * cosine);
        }
        return undefined;
      },
    };
  },
});
