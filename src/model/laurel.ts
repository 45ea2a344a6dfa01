/**
 * @file The learned augmented residual (Laurel, arXiv 2411.07501) of Gemma 3n: a low-rank branch beside the mixer.
 * Parameters: `h.L.laurel.left` (E to r), `.right` (r to E), `h.L.laurel_norm`.
 */
import { add, scale } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import type { ModelContext, Stream } from './context.ts';
import { linearOf } from './linear.ts';
import { norm } from './norm.ts';

/**
 * Adds the branch to a stream that has the mixer's result, and divides by √2. @param x [B, T, E], what the mixer read.
 */
export function addLaurel(ctx: ModelContext, stream: Stream, x: Value, layer: number, rank: number): void {
  const { g, config } = ctx;
  const name = `h.${layer}.laurel`;
  const low = linearOf(ctx, x, `${name}.left`, rank);
  const y = norm(ctx, linearOf(ctx, low, `${name}.right`, config.nEmbd), config.norm, `${name}_norm`);
  stream.replace(scale(g, add(g, stream.value(), add(g, x, y)), Math.SQRT1_2));
}
