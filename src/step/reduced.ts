/**
 * @file How the reduced attention weights of a step are laid out.
 */
import type { StepOutput } from '../backends/types.ts';

/**
 * Whether weights are of slots that the chunk was written to [.., S], and not of slots and chunk [.., C + T].
 * @param slots C @param length T
 */
export function isInSlots({ dims }: StepOutput, slots: number, length: number): boolean {
  return dims.at(-1)! < slots + length;
}
