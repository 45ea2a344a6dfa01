/**
 * @file `keydiff`: keys unlike the others stay.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { addWeighted, dotAt, lengthOf, Scratch } from '../policy/vectors.ts';

/** The score, and 1 / ‖k‖, 0 where it is not known yet. */
const SLOT_STATE = 2;

/**
 * KeyDiff (arXiv 2504.15364): −cos(k_j, u), where u is the mean of the held keys' directions k / ‖k‖. It needs no attention
 * weights. All keys are compared anew after each chunk, since u moves with every token.
 */
export const keyDiff = definePolicy({
  name: 'keydiff',
  summary: 'keys unlike the others',
  slotState: SLOT_STATE,
  scoredByLater: false,
  setup: () => {
    const scratch = new Scratch();
    return {
      score: ({ slotState: [scores, inverse], length, readKeys }, { keySize: D }) => {
        const mean = scratch.sums(D).fill(0);
        const keys = scratch.growing(length * D);
        readKeys(keys);
        for (let j = 0; j < length; j++) if (inverse[j] === 0) inverse[j] = 1 / (lengthOf(keys, j * D, D) || 1); // a key of zeros has no direction
        addWeighted(keys, inverse, length, mean);
        // The cosine does not depend on how long u is: the sum serves as the mean.
        const scale = -1 / (lengthOf(mean) || 1);
        for (let j = 0; j < length; j++) scores[j] = dotAt(keys, j * D, mean) * inverse[j] * scale;
        return undefined;
      },
    };
  },
});
