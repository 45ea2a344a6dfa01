/**
 * @file What is added to attention scores: hidden tokens, and ALiBi. Made from positions, never from slot numbers, once
 * a step for all layers of a group.
 */
import { HIDDEN } from '../../../kvcache/slots/slots.ts';
import { addDims, broadcast, type Dim } from '../../../ops/shapes.ts';
import type { MaskAttributes, OpNode, Value as OpValue } from '../../../ops/types.ts';
import type { GraphBuilder, Value } from '../builder.ts';
import { add, and, concat, div, floor, greater, mul, shapeOf, sub, transpose, where } from '../ops.ts';
import type { LowerContext } from './context.ts';
import { encoderMask } from './layers.ts';

/** What is added to scores of the slots and of the chunk. */
export interface StepMask {
  /** [B, 1 or G, 1 or R, 1 or T, C] */
  readonly slots: Value;
  /** [B, 1 or G, 1 or R, T, T] */
  readonly chunk: Value;
  /** C and T, int64 [2]. */
  readonly lengths: Value;
  /** Both side by side [B, 1 or G, 1 or R, T, C + T]; only where keys are put side by side as well. */
  joined(): Value;
}

/**
 * The mask of a layer, made once for its group.
 * @param isApart a bool without axes: whether layers attend to slots and chunk apart; null: always.
 */
export function stepMask(ctx: LowerContext, node: OpNode<'attend'>, isApart: Value | null): StepMask {
  const { window, chunk: span, alibi, layerGroup } = node.attributes;
  return ctx.shared(`mask.${layerGroup}`, () => {
    const { g } = ctx;
    const positions = ctx.positions(node.inputs[3]!);
    const slotPositions = ctx.input(node.inputs[4]!, [2, 3]); // [B, 1 or G, 1, 1, C]
    const queries = ctx.shared('queryPositions', () => transpose(g, positions, [0, 1, 2, 4, 3])); // [B, 1, 1, T, 1]
    const scores = new Scores(ctx, node, queries);
    const chunk = ctx.shared(`mask.chunk.${window}.${span}.${alibi ?? ''}`, () => scores.chunk(positions));
    const slots = scores.slots(slotPositions, node.inputs[12]);
    const lengths = ctx.isStatic
      ? ctx.lengthsOf(layerGroup, [[node.inputs[4]!], [node.inputs[3]!]])
      : concat(g, [shapeOf(g, slotPositions, 4, 5), ctx.chunkLength(positions)], 0);
    const parts = { slots, chunk, lengths };
    const isAlone =
      ctx.graph.nodes.filter((n) => n.op === 'attend' && n.attributes.layerGroup === layerGroup).length === 1;
    // A group of one layer joins inside of its own branch, if at all.
    if (isAlone || !isApart) return { ...parts, joined: () => join(g, parts) };
    const [made] = g.branch(
      isApart,
      () => [chunk], // never read
      () => [join(g, parts)],
    );
    const joined = { ...made, shape: joinedShape(parts) };
    return { ...parts, joined: () => joined };
  });
}

/** What is added to the scores of echoed queries. */
export interface EchoMask {
  /** [B, 1 or G, 1 or R, 1 or T, C] */
  readonly slots: Value;
  /** Of the chunk's copy [B, 1, 1 or R, T, T]. */
  readonly copy: Value;
  /**
   * Of the chunk, all of which they see but padding [B, 1, 1 or R, 1 or T, T].
   * @param counted [B, 1, 1, T, 1]: 1, or 0 for padding.
   */
  chunk(counted: Value): Value;
}

/** The mask of a layer's echo, made once for its group. */
export function echoMask(ctx: LowerContext, node: OpNode<'echo'>): EchoMask {
  const { window, chunk: span, alibi, layerGroup } = node.attributes;
  return ctx.shared(`echo.${layerGroup}`, () => {
    const { g } = ctx;
    const positions = ctx.positions(node.inputs[3]!);
    const slotPositions = ctx.input(node.inputs[4]!, [2, 3]);
    const echoed = ctx.positions(node.inputs[5]!);
    const queries = ctx.shared('echo.queries', () => transpose(g, echoed, [0, 1, 2, 4, 3]));
    const scores = new Scores(ctx, node, queries);
    return {
      slots: scores.slots(slotPositions, node.inputs[10]),
      copy: ctx.shared(`echo.copy.${window}.${span}.${alibi ?? ''}`, () => scores.chunk(echoed)),
      chunk: (counted) => {
        const real = greater(g, transpose(g, counted, [0, 1, 2, 4, 3]), g.scalar(0.5)); // [B, 1, 1, 1, T]
        return scores.visible(positions, real);
      },
    };
  });
}

/** The mask of one whole sequence [B, 1 or G, 1 or R, 1 or T, T]. */
export function sequenceMask(ctx: LowerContext, node: OpNode<'attendWithin'>): Value {
  const { window, chunk, causal } = node.attributes;
  return ctx.shared(`mask.${window}.${chunk}`, () => {
    const { g } = ctx;
    const mask = encoderMask(ctx, node.inputs[3]!);
    const order = encoderMask(ctx, node.inputs[4]!);
    const queries = transpose(g, order, [0, 1, 2, 4, 3]);
    const seen = visible(g, queries, order, node.attributes, causal);
    const hidden = seen ? where(g, seen, mask, g.scalar(HIDDEN)) : mask;
    return new Scores(ctx, node, queries).withAlibi(hidden, order);
  });
}

class Scores {
  readonly #ctx: LowerContext;
  readonly #g: GraphBuilder;
  readonly #attributes: MaskAttributes;
  readonly #groups: number;
  /** [B, 1, 1, T, 1] */
  readonly #queries: Value;

  constructor(ctx: LowerContext, node: OpNode<'attend' | 'attendWithin' | 'echo'>, queries: Value) {
    this.#ctx = ctx;
    this.#g = ctx.g;
    this.#attributes = node.attributes;
    this.#groups = node.inputs[1]!.shape[1] as number;
    this.#queries = queries;
  }

  /** For the chunk's own tokens [B, 1, 1 or R, T, T]. */
  chunk(positions: Value): Value {
    const g = this.#g;
    const seen = visible(g, this.#queries, positions, this.#attributes, true)!;
    return this.withAlibi(where(g, seen, g.scalar(0), g.scalar(HIDDEN)), positions);
  }

  /** For tokens of the past, as far as `real` holds. */
  visible(positions: Value, real: Value): Value {
    const g = this.#g;
    const first = beforeFirst(g, this.#queries, this.#attributes);
    const seen = first ? and(g, real, greater(g, positions, first)) : real;
    return this.withAlibi(where(g, seen, g.scalar(0), g.scalar(HIDDEN)), positions);
  }

  /** For the slots. Those in use are always of the past, so only free ones and those before the window are hidden. */
  slots(slots: Value, logTokens: OpValue | null | undefined): Value {
    const g = this.#g;
    const oldest = beforeFirst(g, this.#queries, this.#attributes) ?? g.scalar(-0.5);
    const added = logTokens ? this.#ctx.input(logTokens, [2, 3]) : g.scalar(0);
    return this.withAlibi(where(g, greater(g, slots, oldest), added, g.scalar(HIDDEN)), slots);
  }

  /**
   * Each head's slope times the distance to a key is added [B, G, R, T, ·]. Distances keep the numbers small at any
   * position.
   */
  withAlibi(hidden: Value, keys: Value): Value {
    const { alibi } = this.#attributes;
    if (!alibi) return hidden;
    const g = this.#g;
    const slopes = g.constant(alibi, [this.#groups, alibi.length / this.#groups, 1, 1]);
    return add(g, mul(g, sub(g, keys, this.#queries), slopes), hidden);
  }
}

/**
 * A number between the position of the first key that a query attends to and the one before it; null: there is no such
 * limit.
 */
function beforeFirst(g: GraphBuilder, queries: Value, { window, chunk }: MaskAttributes): Value | null {
  if (window !== null) return sub(g, queries, g.scalar(window));
  if (chunk === null) return null;
  const start = mul(g, floor(g, div(g, queries, g.scalar(chunk))), g.scalar(chunk));
  return sub(g, start, g.scalar(0.5));
}

/** Which keys a query attends to [B, 1, 1, T, T]; null: all. Without causality a window reaches to both sides. */
function visible(g: GraphBuilder, queries: Value, keys: Value, mask: MaskAttributes, causal: boolean): Value | null {
  const first = beforeFirst(g, queries, mask);
  const after = first && greater(g, keys, first);
  if (causal) {
    const before = greater(g, add(g, queries, g.scalar(0.5)), keys);
    return after ? and(g, before, after) : before;
  }
  return after && and(g, after, greater(g, add(g, queries, g.scalar(mask.window!)), keys));
}

type Parts = Pick<StepMask, 'slots' | 'chunk'>;

function join(g: GraphBuilder, { slots, chunk }: Parts): Value {
  return concat(g, [expandLike(g, slots, chunk), expandLike(g, chunk, slots)], -1);
}

function joinedShape({ slots, chunk }: Parts): Dim[] {
  return [...broadcast(slots.shape, chunk.shape).slice(0, 4), addDims(slots.shape[4], chunk.shape[4])];
}

/** Makes all axes but the last as long as those of `other`, where they are 1. */
function expandLike(g: GraphBuilder, x: Value, other: Value): Value {
  const lengths = concat(g, [shapeOf(g, other, 0, 4), g.ints(1)], 0);
  const shape = [...broadcast(x.shape, other.shape).slice(0, 4), x.shape[4]];
  return g.node('Expand', [x, lengths], [{ dtype: x.dtype, shape }])[0];
}
