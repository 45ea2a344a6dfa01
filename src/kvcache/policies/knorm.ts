/**
 * @file `knorm`: short keys stay.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { lengthOf, Scratch } from '../policy/vectors.ts';

/**
 * Key norm (arXiv 2406.11430): keys with a large norm tend to get little attention, so the score is −‖k_j‖₂. It needs
 * no attention weights. What differs from the paper: no layers are left out.
 */
export const keyNorm = definePolicy({
  name: 'knorm',
  summary: 'short keys',
  setup: () => {
    const scratch = new Scratch();
    return {
      scoredByLater: false,
      score: ({ scores, held, length, readKey }, { keySize }) => {
        const key = scratch.vector(keySize);
        for (let j = held; j < length; j++) {
          readKey(j, key);
          scores[j] = -lengthOf(key);
        }
        return undefined;
      },
    };
  },
});
