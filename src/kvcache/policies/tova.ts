/**
 * @file `tova`: what the newest token looks at.
 */
import { definePolicy } from '../policy/define-policy.ts';

/**
 * TOVA (arXiv 2401.06104): the weights of the chunk's last query, as a mean over all heads of the layer: one decision
 * for all groups. The newest token always stays.
 */
export const tova = definePolicy({
  name: 'tova',
  summary: 'what the newest token looks at',
  needs: ['last-query'],
  perGroup: false,
  reads: false,
  recent: () => 1,
  score: ({ scores, weights: [last], length }, { heads }) => {
    for (let j = 0; j < length; j++) scores[j] = last[j] / heads;
    return undefined;
  },
});
