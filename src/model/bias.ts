/**
 * @file What is added to attention scores: what may not be seen, and alibi. Made from positions, never from slot numbers, once
 * a step for all layers of a class.
 */
import { type Config, windowOf } from '../config/config.ts';
import type { GraphBuilder, Value } from '../graph/builder.ts';
import { add, and, broadcast, concat, greater, mul, shapeOf, sub, transpose, where } from '../graph/ops.ts';
import { HIDDEN } from '../kvcache/slots.ts';
import { range } from '../numbers.ts';
import type { ModelContext } from './context.ts';

/** Added to the scores [B, G, R, T, ·] of the slots held and of the chunk itself. */
export interface AttentionBias {
  /** [B, 1 or G, 1 or R, 1 or T, C]; null where nothing is held. */
  readonly held: Value | null;
  /** [B, 1 or G, 1 or R, T, T] */
  readonly chunk: Value;
  /** C and T, int64 [2]; null where nothing is held. */
  readonly lengths: Value | null;
}

/** Whether a layer's bias depends on where its slots lie: if not, it is enough to know which of them are in use. */
export function needsPositions(config: Config, layer: number): boolean {
  return windowOf(config, layer) !== null || config.position === 'alibi';
}

/**
 * @param slots [B, 1 or G, 1, 1, C]: positions of the slots where {@link needsPositions}, else the bias itself.
 * @param positions [B, 1, 1, 1, T]
 */
export function attentionBias(ctx: ModelContext, slots: Value, positions: Value, layer: number): AttentionBias {
  const { g, config } = ctx;
  const window = windowOf(config, layer);
  const queries = transpose(g, positions, [0, 1, 2, 4, 3]); // [B, 1, 1, T, 1]
  const zero = g.scalar(0);
  const hidden = g.scalar(HIDDEN);
  const oldest = window === null ? null : sub(g, queries, g.scalar(window));
  const chunk = where(g, seenBy(ctx, queries, positions, window)!, zero, hidden); // [B, 1, 1, T, T]
  const lengths = concat(g, [shapeOf(g, slots, 4, 5), shapeOf(g, positions, 4, 5)], 0);
  if (!needsPositions(config, layer)) return { held: slots, chunk, lengths };
  // Slots are always of the past, so only free ones and those before the window are hidden.
  const held = where(g, greater(g, slots, oldest ?? g.scalar(-0.5)), zero, hidden); // [B, 1|G, 1, 1|T, C]
  if (config.position !== 'alibi') return { held, chunk, lengths };
  return {
    held: add(g, alibi(ctx, slots, queries), held),
    chunk: add(g, alibi(ctx, positions, queries), chunk),
    lengths,
  };
}

/** Both side by side [B, 1 or G, 1 or R, T, C + T]. */
export function joinedBias(g: GraphBuilder, { held, chunk }: AttentionBias): Value {
  return held ? concat(g, [broadcastLike(g, held, chunk), broadcastLike(g, chunk, held)], -1) : chunk;
}

/** Makes all axes but the last as long as those of `other`, where they are 1. */
function broadcastLike(g: GraphBuilder, x: Value, other: Value): Value {
  const lengths = concat(g, [shapeOf(g, other, 0, 4), g.ints(1)], 0);
  const shape = [...broadcast(x.shape, other.shape).slice(0, 4), x.shape[4]];
  return g.node('Expand', [x, lengths], [{ dtype: x.dtype, shape }])[0];
}

/**
 * The bias of a model that holds nothing: what the mask hides, and, where queries may not see all keys, what lies ahead or out of
 * the window.
 * @param mask [B, 1, 1, 1, T]: 0, or HIDDEN for padding.
 * @param order [B, 1, 1, 1, T]: places in the sequence.
 */
export function encoderBias(ctx: ModelContext, mask: Value, order: Value, layer: number): AttentionBias {
  const { g, config } = ctx;
  const queries = transpose(g, order, [0, 1, 2, 4, 3]);
  const seen = seenBy(ctx, queries, order, windowOf(config, layer));
  const hidden = seen ? where(g, seen, mask, g.scalar(HIDDEN)) : mask;
  const chunk = config.position === 'alibi' ? add(g, alibi(ctx, order, queries), hidden) : hidden;
  return { held: null, chunk, lengths: null };
}

/** Which keys a query sees [B, 1, 1, T, T]; null: all. Without causality a window reaches to both sides. */
function seenBy({ g, config }: ModelContext, queries: Value, keys: Value, window: number | null): Value | null {
  const after = window === null ? null : greater(g, keys, sub(g, queries, g.scalar(window)));
  if (config.causal) {
    const before = greater(g, add(g, queries, g.scalar(0.5)), keys);
    return after ? and(g, before, after) : before;
  }
  return after && and(g, after, greater(g, add(g, queries, g.scalar(window!)), keys));
}

/** Slopes of `heads` heads (ALiBi, arXiv 2108.12409): powers of one ratio, and where heads are no power of two, in between. */
export function alibiSlopes(heads: number): number[] {
  const whole = 2 ** Math.floor(Math.log2(heads));
  const ratio = (n: number) => 2 ** -(2 ** -(Math.log2(n) - 3));
  const slopes = range(whole).map((i) => ratio(whole) ** (i + 1));
  for (let i = 1; slopes.length < heads; i += 2) slopes.push(ratio(2 * whole) ** i);
  return slopes;
}

/** Each head's slope times how far back a key lies [B, G, R, T, ·]. Distances keep the numbers small at any position. */
function alibi({ g, config }: ModelContext, keys: Value, queries: Value): Value {
  const { nHead: H, nQueryGroups: G, alibiScaled, attentionScale } = config;
  const factor = alibiScaled ? attentionScale : 1;
  const slopes = Float32Array.from(alibiSlopes(H), (slope) => Math.fround(slope) * factor);
  return mul(g, sub(g, keys, queries), g.constant(slopes, [G, H / G, 1, 1]));
}
