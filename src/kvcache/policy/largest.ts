/**
 * @file What policies share whose score is the largest value that was seen of a slot so far.
 */
import type { PolicyDefinition } from './define-policy.ts';

/** The larger one of a slot's score and of what the policy's only need tells of it now. */
export const largestSoFar = {
  // A maximum is no sum of many steps.
  slotStateType: 'float32',
  sinks: 4,
  reads: false,
  score: ({ scores, weights: [largest], length }) => {
    for (let j = 0; j < length; j++) scores[j] = Math.max(scores[j], largest[j]);
    return undefined;
  },
} as const satisfies Partial<PolicyDefinition>;
