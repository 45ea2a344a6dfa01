/**
 * @file What policies share whose score is the largest value that was seen of a slot so far.
 */
import type { PolicyDefinition } from './define-policy.ts';

/** Keeps the larger one of each of the first `count` numbers. */
export function keepLarger(largest: Float64Array, seen: Float32Array, count: number): void {
  for (let j = 0; j < count; j++) largest[j] = Math.max(largest[j], seen[j]);
}

/** The larger one of a slot's score and of what the policy's only need tells of it now. */
export const largestSoFar = {
  // A maximum is no sum of many steps.
  slotStateType: 'float32',
  sinks: 4,
  reads: false,
  score: ({ scores, weights: [largest], length }) => {
    keepLarger(scores, largest, length);
    return undefined;
  },
} as const satisfies Partial<PolicyDefinition>;
