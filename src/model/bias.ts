/**
 * @file What is added to attention scores: what may not be seen, and alibi. Made from positions, never from slot numbers, once
 * a step for all layers of a class.
 */

import type { Dim, GraphBuilder, Value } from '../backends/onnx/builder.ts';
import {
  add,
  addDims,
  and,
  broadcast,
  concat,
  greater,
  mul,
  shapeOf,
  sub,
  transpose,
  where,
} from '../backends/onnx/ops.ts';
import { type Config, windowOf } from '../config/config.ts';
import { HIDDEN } from '../kvcache/slots.ts';
import { range } from '../util/numbers.ts';
import type { ModelContext } from './context.ts';

/** What is added to scores of the slots held and of the chunk. */
export interface AttentionBias {
  /** Of both side by side [B, 1 or G, 1 or R, T, C + T]; to be asked for only where they are not attended to apart. */
  joined(): Value;
  /** Of each by itself; null where nothing is held. */
  readonly apart: BiasApart | null;
}

export interface BiasApart {
  /** Whether slots and chunk are attended to apart, a bool without axes. */
  readonly chosen: Value;
  /** [B, 1 or G, 1 or R, 1 or T, C] */
  readonly held: Value;
  /** [B, 1 or G, 1 or R, T, T] */
  readonly chunk: Value;
  /** C and T, int64 [2]. */
  readonly lengths: Value;
}

/** Whether a layer's bias depends on where its slots lie: if not, it is enough to know which of them are in use. */
export function needsPositions(config: Config, layer: number): boolean {
  return windowOf(config, layer) !== null || config.position === 'alibi';
}

/** The biases of a step. What they have in common is made once. */
export class StepBiases {
  readonly #ctx: ModelContext;
  /** [B, 1, 1, 1, T] */
  readonly #positions: Value;
  /** [B, 1, 1, T, 1] */
  readonly #queries: Value;
  /** T, int64 [1] */
  readonly #length: Value;
  readonly #isApart: Value;
  /** By window. */
  readonly #chunks = new Map<number | null, Value>();

  /**
   * @param positions [B, 1, 1, 1, T]
   * @param isApart a bool without axes: whether layers attend to slots and chunk apart.
   */
  constructor(ctx: ModelContext, positions: Value, isApart: Value) {
    this.#ctx = ctx;
    this.#positions = positions;
    this.#queries = transpose(ctx.g, positions, [0, 1, 2, 4, 3]);
    this.#length = shapeOf(ctx.g, positions, 4, 5);
    this.#isApart = isApart;
  }

  /**
   * The bias of a class of layers.
   * @param slots [B, 1 or G, 1, 1, C]: positions of the slots where {@link needsPositions}, else the bias itself.
   * @param layer one of the class.
   * @param isShared whether there are others: then both are joined once for all of them, else by the layer itself where it has to.
   */
  of(slots: Value, layer: number, isShared: boolean): AttentionBias {
    const { g } = this.#ctx;
    const chunk = this.#chunk(layer);
    const apart = {
      chosen: this.#isApart,
      held: this.#held(slots, layer),
      chunk,
      lengths: concat(g, [shapeOf(g, slots, 4, 5), this.#length], 0),
    };
    if (!isShared) return { joined: () => join(g, apart), apart };
    const [made] = g.branch(
      this.#isApart,
      () => [chunk], // never read
      () => [join(g, apart)],
    );
    const joined = { ...made, shape: joinedShape(apart) };
    return { joined: () => joined, apart };
  }

  /** What is added for the chunk's own tokens [B, 1, 1 or R, T, T]. */
  #chunk(layer: number): Value {
    const ctx = this.#ctx;
    const { g, config } = ctx;
    const window = windowOf(config, layer);
    const known = this.#chunks.get(window);
    if (known) return known;
    const seen = seenBy(ctx, this.#queries, this.#positions, window)!;
    const visible = where(g, seen, g.scalar(0), g.scalar(HIDDEN));
    const chunk = withAlibi(ctx, visible, this.#positions, this.#queries);
    this.#chunks.set(window, chunk);
    return chunk;
  }

  /** What is added for the slots. Those in use are always of the past, so only free ones and those before the window are hidden. */
  #held(slots: Value, layer: number): Value {
    const ctx = this.#ctx;
    const { g, config } = ctx;
    if (!needsPositions(config, layer)) return slots;
    const window = windowOf(config, layer);
    const oldest = window === null ? g.scalar(-0.5) : sub(g, this.#queries, g.scalar(window));
    const visible = where(g, greater(g, slots, oldest), g.scalar(0), g.scalar(HIDDEN));
    return withAlibi(ctx, visible, slots, this.#queries);
  }
}

function join(g: GraphBuilder, { held, chunk }: BiasApart): Value {
  return concat(g, [broadcastLike(g, held, chunk), broadcastLike(g, chunk, held)], -1);
}

function joinedShape({ held, chunk }: BiasApart): Dim[] {
  return [...broadcast(held.shape, chunk.shape).slice(0, 4), addDims(held.shape[4], chunk.shape[4])];
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
  const joined = withAlibi(ctx, hidden, order, queries);
  return { joined: () => joined, apart: null };
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

/** What is hidden, and alibi where the model has it. */
function withAlibi(ctx: ModelContext, hidden: Value, keys: Value, queries: Value): Value {
  return ctx.config.position === 'alibi' ? add(ctx.g, alibi(ctx, keys, queries), hidden) : hidden;
}

/** Each head's slope times how far back a key lies [B, G, R, T, ·]. Distances keep the numbers small at any position. */
function alibi({ g, config }: ModelContext, keys: Value, queries: Value): Value {
  const { nHead: H, nQueryGroups: G, alibiScaled, attentionScale } = config;
  const factor = alibiScaled ? attentionScale : 1;
  const slopes = Float32Array.from(alibiSlopes(H), (slope) => Math.fround(slope) * factor);
  return mul(g, sub(g, keys, queries), g.constant(slopes, [G, H / G, 1, 1]));
}
