/**
 * @file The bias that is added to attention scores: what may not be seen, and alibi. Made from positions, never from slot
 * numbers, once a step for all layers of a class.
 */
import type { Value } from '../graph/builder.ts';
import { add, addDims, and, concat, greater, mul, shapeOf, sub, timesDim, transpose, where } from '../graph/ops.ts';
import type { ModelContext } from './context.ts';

/** As good as -∞ for softmax, and still a number where a row of padding sees nothing at all. */
const HIDDEN = -1e30;

/**
 * @param slots [B, 1 or G, 1, C]
 * @param positions [B, 1, 1, T]
 * @returns [B, 1 or G, R·T, C + T]
 */
export function attentionBias(ctx: ModelContext, slots: Value, positions: Value, window: number | null): Value {
  const { g, config } = ctx;
  const [B, groups, , held] = slots.shape;
  const T = positions.shape[3];
  const R = config.nHead / config.nQueryGroups;
  const rows = transpose(g, positions, [0, 1, 3, 2]); // [B, 1, T, 1]
  const zero = g.scalar(0);
  const hidden = g.scalar(HIDDEN);

  // Slots are always of the past, so only free ones and those before the window are hidden.
  const zeros = mul(g, rows, zero); // [B, 1, T, 1], to spread over the queries
  const oldest = window === null ? add(g, zeros, g.scalar(-0.5)) : sub(g, rows, g.scalar(window));
  const onSlots = where(g, greater(g, slots, oldest), zero, hidden); // [B, 1|G, T, C]
  let seen = greater(g, add(g, rows, g.scalar(0.5)), positions);
  if (window !== null) seen = and(g, seen, greater(g, positions, oldest));
  let onChunk = where(g, seen, zero, hidden); // [B, 1, T, T]
  if (groups !== 1) onChunk = spread(ctx, onChunk, slots);
  const bias = concat(g, [onSlots, onChunk], -1); // [B, 1|G, T, C + T]
  return R === 1
    ? bias
    : { ...concat(g, new Array<Value>(R).fill(bias), 2), shape: [B, groups, timesDim(R, T), addDims(held, T)] };
}

/** Repeats [B, 1, T, T] over the groups that the slots are told apart for (which may be one). */
function spread(ctx: ModelContext, onChunk: Value, slots: Value): Value {
  const { g } = ctx;
  const groups = shapeOf(g, slots, 1, 2);
  const one = g.ints(1);
  const target = concat(g, [one, groups, one, one], 0);
  const shape = [onChunk.shape[0], slots.shape[1], onChunk.shape[2], onChunk.shape[3]];
  return g.node('Expand', [onChunk, target], [{ dtype: onChunk.dtype, shape }])[0];
}
