/**
 * @file `h2o-vlen`: heavy hitters, by what they added to the output.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { lengthOf, Scratch } from '../policy/vectors.ts';
import { type H2OOptions, heavyHitters, NORMALIZE } from './h2o.ts';

/**
 * H2O with each weight times the length of the slot's value vector: S_j += m_j · ‖v_j‖₂ (the idea of
 * awslabs/keys_values' h2o-vlen). A weight on a short vector moves little.
 */
export const valueLengthH2O = definePolicy<H2OOptions>({
  name: 'h2o-vlen',
  summary: 'h2o, weights times the length of the value',
  options: NORMALIZE,
  setup: ({ options }) => {
    const scratch = new Scratch();
    return {
      ...heavyHitters(options.normalize),
      slotState: 2,
      reads: true,
      score: ({ slotState: [scores, lengths], weights: [sums], held, length, readValue }, { valueSize }) => {
        const value = scratch.vector(valueSize);
        for (let j = held; j < length; j++) {
          readValue(j, value);
          lengths[j] = lengthOf(value);
        }
        for (let j = 0; j < length; j++) scores[j] += sums[j] * lengths[j];
        return undefined;
      },
    };
  },
});
