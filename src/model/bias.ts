/**
 * @file The bias that is added to attention scores: what may not be seen, and alibi. Made from positions, never from slot
 * numbers, once a step for all layers of a class.
 */
import type { Value } from '../graph/builder.ts';
import { add, addDims, and, concat, greater, mul, shapeOf, sub, timesDim, transpose, where } from '../graph/ops.ts';
import { range } from '../kvcache/kv-cache.ts';
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
  const onChunk = spread(ctx, where(g, seen, zero, hidden), slots); // [B, 1|G, T, T]
  const bias = concat(g, [onSlots, onChunk], -1); // [B, 1|G, T, C + T]
  const shape = [B, groups, timesDim(R, T), addDims(held, T)];
  const forHeads = R === 1 ? bias : { ...concat(g, new Array<Value>(R).fill(bias), 2), shape };
  return config.position === 'alibi' ? add(g, alibi(ctx, slots, positions), forHeads) : forHeads;
}

/** Slopes of `heads` heads (ALiBi, arXiv 2108.12409): powers of one ratio, and where heads are no power of two, in between. */
export function alibiSlopes(heads: number): number[] {
  const whole = 2 ** Math.floor(Math.log2(heads));
  const ratio = (n: number) => 2 ** -(2 ** -(Math.log2(n) - 3));
  const slopes = range(whole).map((i) => ratio(whole) ** (i + 1));
  for (let i = 1; slopes.length < heads; i += 2) slopes.push(ratio(2 * whole) ** i);
  return slopes;
}

/** Each head's slope times how far back a key lies [B, G, R·T, C + T]. Distances keep the numbers small at any position. */
function alibi(ctx: ModelContext, slots: Value, positions: Value): Value {
  const { g, config } = ctx;
  const G = config.nQueryGroups;
  const R = config.nHead / G;
  const keys = concat(g, [slots, spread(ctx, positions, slots)], -1); // [B, 1|G, 1, C + T]
  const distances = sub(g, keys, transpose(g, positions, [0, 1, 3, 2])); // [B, 1|G, T, C + T]
  const factor = config.alibiScaled ? config.attentionScale : 1;
  const slopes = alibiSlopes(config.nHead);
  const perHead = range(R).map((r) => {
    const ofGroups = Float32Array.from(range(G), (group) => Math.fround(slopes[group * R + r]) * factor);
    return mul(g, distances, g.constant(ofGroups, [G, 1, 1])); // [B, G, T, C + T]
  });
  return concat(g, perHead, 2);
}

/** Repeats [B, 1, …] over the groups that the slots are told apart for (which may be one). */
function spread(ctx: ModelContext, value: Value, slots: Value): Value {
  if (slots.shape[1] === 1) return value;
  const { g } = ctx;
  const one = g.ints(1);
  const target = concat(g, [one, shapeOf(g, slots, 1, 2), one, one], 0);
  const shape = [value.shape[0], slots.shape[1], ...value.shape.slice(2)];
  return g.node('Expand', [value, target], [{ dtype: value.dtype, shape }])[0];
}
