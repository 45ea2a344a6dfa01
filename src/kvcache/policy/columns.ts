/**
 * @file Columns of the weights that a step gives, set by set.
 */
import type { Reduction } from './needs.ts';

/** `set`: the first of several; the others are added to it, or their maximum is kept. */
export type Combine = 'set' | Reduction;

/** Copies `count` numbers of one set of weights. */
export function copyColumns(
  out: Float32Array,
  to: number,
  data: Float32Array,
  from: number,
  count: number,
  combine: Combine,
): void {
  if (combine === 'set') out.set(data.subarray(from, from + count), to);
  else if (combine === 'sum') for (let j = 0; j < count; j++) out[to + j] += data[from + j];
  else for (let j = 0; j < count; j++) out[to + j] = Math.max(out[to + j], data[from + j]);
}
