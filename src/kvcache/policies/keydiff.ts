/**
 * @file `keydiff`: keys unlike the others stay.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { lengthOf, Scratch } from '../policy/vectors.ts';

/** The score, and 1 / ‖k‖, 0 where it is not known yet. */
const SLOT_STATE = 2;

/**
 * KeyDiff (arXiv 2504.15364): −cos(k_j, u), where u is the mean of the held keys' directions k / ‖k‖. It needs no
 * attention weights. All keys are compared anew after each chunk, since u moves with every token.
 */
export const keyDiff = definePolicy({
  name: 'keydiff',
  summary: 'keys unlike the others',
  slotState: SLOT_STATE,
  needsAlongMean: true,
  scoredByLater: false,
  setup: () => {
    const scratch = new Scratch();
    return {
      score: ({ slotState: [scores, inverse], alongMean, held, length, readKey, readExactKey }, { keySize }) => {
        const key = scratch.vector(keySize);
        const inverseOf = () => 1 / (lengthOf(key) || 1); // a key of zeros has no direction
        for (let j = 0; j < held; j++) {
          if (inverse[j] === 0) {
            readKey(j, key);
            inverse[j] = inverseOf();
          }
          scores[j] = -alongMean[j] * inverse[j];
        }
        // What is stored of a new key may have another length.
        for (let j = held; j < length; j++) {
          readExactKey(j, key);
          scores[j] = -alongMean[j] * inverseOf();
        }
        return undefined;
      },
    };
  },
});
