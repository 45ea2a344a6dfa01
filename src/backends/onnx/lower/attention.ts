/**
 * @file Rotation and attention.
 */
import { timesDim } from '../../../ops/shapes.ts';
import type { OpNode, Value as OpValue } from '../../../ops/types.ts';
import { type GraphBuilder, MICROSOFT, type Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import { capped } from './basic.ts';
import { type CachedReader, cachedReader, longestApart, TINY, wideKeys } from './cached.ts';
import type { LowerContext, LowerTable } from './context.ts';
import { echoMask, type StepMask, sequenceMask, stepMask } from './masks.ts';

/** [B, H, T, D] → [B, G, R, T, D] */
function byGroup(g: GraphBuilder, x: Value, groups: number): Value {
  const [B, H, T, D] = x.shape;
  const R = (H as number) / groups;
  return onnx.reshape(g, x, [0, groups, R, -1, D as number], [B, groups, R, T, D]);
}

/**
 * Queries by group, multiplied with the scale: without a factor the operator takes single queries to keys without
 * packing them.
 */
function scaledQueries({ g }: LowerContext, q: Value, groups: number, scale: number): Value {
  return onnx.mul(g, byGroup(g, q, groups), g.scalar(scale));
}

/** [B, G, R, T, Dv] → [B, T, H·Dv] */
function joinHeads(g: GraphBuilder, x: Value, out: OpValue): Value {
  const width = out.shape[2] as number;
  return onnx.reshape(g, onnx.transpose(g, x, [0, 3, 1, 2, 4]), [0, 0, width], out.shape);
}

/**
 * softmax(q·[keys, k]ᵀ + mask) · [values, v], head by head; a group's heads read the same keys and values, which are
 * never repeated for them.
 */
function attend(ctx: LowerContext, node: OpNode<'attend'>): Value[] {
  const { g } = ctx;
  const { scale, softcap } = node.attributes;
  const G = node.inputs[1]!.shape[1] as number;
  const positions = ctx.positions(node.inputs[3]!);
  const scaled = scaledQueries(ctx, ctx.value(node.inputs[0]!), G, scale);
  const [k, v] = [byGroup(g, ctx.value(node.inputs[1]!), G), byGroup(g, ctx.value(node.inputs[2]!), G)];
  const isApart = ctx.isStatic ? null : ctx.isAtMost(positions, longestApart(node));
  const mask = stepMask(ctx, node, isApart);
  const cached = cachedReader(ctx, node);
  const queryWeights = node.inputs[5] && ctx.input(node.inputs[5], [1]); // [B, 1, sets, R·T]
  const queryMask = node.inputs[11] && ctx.input(node.inputs[11], [1, 4]); // [B, 1, 1 or T, T, 1]
  const R = (node.inputs[0]!.shape[1] as number) / G;
  const sinks = node.inputs[10] && onnx.reshape(g, ctx.value(node.inputs[10]), [1, G, R, 1, 1], [1, G, R, 1, 1]);
  const softmax = (scores: Value): Value => (sinks ? sinkSoftmax(g, scores, sinks) : onnx.softmax(g, scores));
  /** The mixed values, and the weights where they are wanted. */
  const wanted = (mixed: Value, weights: Value): Value[] => (queryWeights || queryMask ? [mixed, weights] : [mixed]);
  const attendApart = () => apart(g, scaled, k, v, cached, mask, softcap, softmax, wanted);
  const attendJoined = () => {
    const keys = onnx.concat(g, [cached.keys(), k], 3);
    const values = onnx.concat(g, [cached.values(), v], 3);
    const all = softmax(scoresOf(g, scaled, keys, mask.joined(), softcap));
    return wanted(onnx.matmul(g, all, values), all);
  };
  const [mixed, weights] = isApart ? g.branch(isApart, attendApart, attendJoined) : attendApart();
  const y = joinHeads(g, mixed, node.outputs[0]);
  return [
    y,
    ...(queryWeights ? [(ctx.isStatic ? sumsByHead : sumsOf)(g, weights, queryWeights, [G, R])] : []),
    ...(queryMask ? [maximaOf(g, weights, queryMask, R)] : []),
  ];
}

/** Σ over queries. @param weights [B, G, R, T, S] @param queryWeights [B, 1, sets, R·T] → [B, G, sets, S] */
function sumsOf(g: GraphBuilder, weights: Value, queryWeights: Value, [G, R]: readonly [number, number]): Value {
  const [B, , , T, S] = weights.shape;
  const target = [g.ints(0, G, -1), onnx.shapeOf(g, weights, 4, 5)];
  const flat = onnx.reshapeTo(g, weights, target, [B, G, timesDim(R, T), S]);
  return onnx.matmul(g, queryWeights, flat);
}

/** The same without a length that is known only at run time. */
function sumsByHead(g: GraphBuilder, weights: Value, queryWeights: Value, [, R]: readonly [number, number]): Value {
  const [B, , sets] = queryWeights.shape;
  const [, , , T] = weights.shape;
  const each = onnx.transpose(g, onnx.reshape(g, queryWeights, [0, 0, 0, R, -1], [B, 1, sets, R, T]), [0, 1, 3, 2, 4]);
  return onnx.squeeze(g, onnx.reduceSum(g, onnx.matmul(g, each, weights), 2), 2); // [B, G, sets, S]
}

/** Maxima over heads and queries. @param weights [B, G, R, T, S] @param mask [B, 1, sets, T, 1] → [B, G, sets, S] */
function maximaOf(g: GraphBuilder, weights: Value, mask: Value, R: number): Value {
  const ofHeads = R === 1 ? weights : onnx.reduceMax(g, weights, 2); // [B, G, 1, T, S]
  const most = onnx.reduceMax(g, onnx.mul(g, ofHeads, mask), 3); // [B, G, sets, 1, S]
  return onnx.squeeze(g, most, 3);
}

/**
 * The largest weights of queries that read the chunk once more. Nothing of it runs where the mask has no rows and the
 * graph may decide.
 */
function echo(ctx: LowerContext, node: OpNode<'echo'>): Value[] {
  const { g } = ctx;
  const { scale, softcap } = node.attributes;
  const [q, k, copy, positions, slots, , cached, mask, scales, sinks] = node.inputs;
  const G = k!.shape[1] as number;
  const R = (q!.shape[1] as number) / G;
  const counted = ctx.input(mask!, [1, 4]); // [B, 1, E, T, 1]
  const hidden = echoMask(ctx, node);
  const cachedKeys = wideKeys(ctx, { q: q!, k: k!, cached: cached!, scales }, node.attributes.buffer);
  const [again, ...keysOf] = [q!, k!, copy!].map((value) => ctx.value(value));
  const sink = sinks && onnx.reshape(g, ctx.value(sinks), [1, G, R, 1, 1], [1, G, R, 1, 1]);
  /** [B, G, E, C + 2T] */
  const largest = (): Value => {
    const [chunkKeys, copyKeys] = keysOf.map((keys) => byGroup(g, keys, G));
    const queries = scaledQueries(ctx, again, G, scale);
    const onSlots = scoresOf(g, queries, cachedKeys(), hidden.slots, softcap);
    const onChunk = scoresOf(g, queries, chunkKeys, hidden.chunk(counted), softcap);
    const onCopy = scoresOf(g, queries, copyKeys, hidden.copy, softcap);
    const scores = onnx.concat(g, [onSlots, onChunk, onCopy], -1);
    const weights = sink ? sinkSoftmax(g, scores, sink) : onnx.softmax(g, scores);
    return maximaOf(g, weights, counted, R);
  };
  const kept = node.outputs[0].shape[3];
  const { isOfHeld, layerGroup } = node.attributes;
  if (ctx.isStatic) {
    const T = positions!.shape[1];
    if (!isOfHeld) {
      const lengths = ctx.lengthsOf(`echo.own.${layerGroup}`, [[slots!], [positions!], [positions!]]);
      return onnx.split(g, largest(), -1, [slots!.shape[2], T, T], lengths).slice(1, 2);
    }
    const lengths = ctx.lengthsOf(`echo.${layerGroup}`, [[slots!, positions!], [positions!]]);
    return onnx.split(g, largest(), -1, [kept, T], lengths).slice(0, 1);
  }
  const chunkLength = ctx.chunkLength(ctx.positions(positions!));
  const isUnwanted = ctx.shared('echo.unwanted', () => {
    const sets = onnx.reshape(g, onnx.shapeOf(g, counted, 2, 3), [], []);
    return onnx.less(g, sets, onnx.index(g, 1));
  });
  return g.branch(
    isUnwanted,
    () => [g.constant(new Float32Array(0), [1, G, 0, 1])],
    () => {
      const all = largest();
      const shape = [...all.shape.slice(0, 3), kept];
      const end = onnx.neg(g, chunkLength);
      const start = isOfHeld ? g.ints(0) : onnx.add(g, end, end);
      return g.node('Slice', [all, start, end, g.ints(3)], [{ dtype: 'float32', shape }]);
    },
  );
}

/** Attends to slots and chunk apart and puts their scores side by side: no key is copied. */
function apart(
  g: GraphBuilder,
  q: Value,
  k: Value,
  v: Value,
  cached: CachedReader,
  mask: StepMask,
  softcap: number | null,
  softmax: (scores: Value) => Value,
  wanted: (mixed: Value, weights: Value) => Value[],
): Value[] {
  const onSlots = onnx.add(g, capped(g, cached.scores(q), softcap), mask.slots);
  const onChunk = onnx.add(g, capped(g, onnx.matmulTransposed(g, q, k), softcap), mask.chunk);
  const weights = softmax(onnx.concat(g, [onSlots, onChunk], -1)); // [B, G, R, T, C + T]
  const [ofSlots, ofChunk] = onnx.split(g, weights, -1, [cached.slots, k.shape[3]], mask.lengths);
  return wanted(onnx.add(g, cached.mix(ofSlots), onnx.matmul(g, ofChunk, v)), weights);
}

function scoresOf(g: GraphBuilder, q: Value, keys: Value, mask: Value, softcap: number | null): Value {
  return onnx.add(g, capped(g, onnx.matmulTransposed(g, q, keys), softcap), mask);
}

/** Softmax over the scores [B, G, R, T, S] and one more, which is dropped afterwards. @param sinks [1, G, R, 1, 1] */
function sinkSoftmax(g: GraphBuilder, scores: Value, sinks: Value): Value {
  // A column of them, without asking for the lengths of the other axes.
  const column = onnx.add(g, onnx.mul(g, onnx.reduceMax(g, scores, -1), g.scalar(0)), sinks); // [B, G, R, T, 1]
  const all = onnx.softmax(g, onnx.concat(g, [scores, column], -1));
  return g.node('Slice', [all, g.ints(0), g.ints(-1), g.ints(4)], [scores])[0];
}

/** Attention to given keys and values. @param mask [B, 1 or G, 1 or R, 1 or T, S] */
function attendAll(ctx: LowerContext, node: OpNode<'attendTo' | 'attendWithin'>, mask: Value): Value {
  const { g } = ctx;
  const { scale, softcap } = node.attributes;
  const G = node.inputs[1]!.shape[1] as number;
  const given = (of: OpValue) => (ctx.graph.inputs.includes(of) ? ctx.input(of, [2]) : byGroup(g, ctx.value(of), G));
  const q = scaledQueries(ctx, ctx.value(node.inputs[0]!), G, scale);
  const weights = onnx.softmax(g, scoresOf(g, q, given(node.inputs[1]!), mask, softcap));
  return joinHeads(g, onnx.matmul(g, weights, given(node.inputs[2]!)), node.outputs[0]);
}

export const ATTENTION: LowerTable = {
  rotate: (ctx, { inputs: [x, cos, sin, index], attributes: { interleave } }) => {
    const value = ctx.value(x!);
    const pairs = cos!.shape[1] as number;
    const [, heads, , size] = x!.shape as number[];
    const attributes = {
      interleaved: interleave ? 1 : 0,
      // With a width the operator wants a number of heads as well; a whole head needs neither.
      ...(2 * pairs === size ? {} : { rotary_embedding_dim: 2 * pairs, num_heads: heads }),
    };
    const inputs = [value, ctx.value(index!), ctx.value(cos!), ctx.value(sin!)];
    return ctx.g.node('RotaryEmbedding', inputs, [value], { attributes, domain: MICROSOFT });
  },
  scaleByPosition: (ctx, { inputs: [x, positions], attributes: { beta, floor, offset } }) => {
    const { g } = ctx;
    const factor = ctx.shared(`temperature.${beta}.${floor}.${offset}`, () => {
      const order = onnx.reshape(g, ctx.positions(positions!), [0, 1, -1, 1], [positions!.shape[0], 1, 'T', 1]);
      const steps = onnx.floor(g, onnx.div(g, onnx.add(g, order, g.scalar(offset)), g.scalar(floor)));
      return onnx.add(g, onnx.mul(g, onnx.log(g, onnx.add(g, steps, g.scalar(1))), g.scalar(beta)), g.scalar(1));
    });
    return [onnx.mul(g, ctx.value(x!), factor)];
  },
  attend,
  echo,
  keyProducts: (ctx, { inputs: [k, sums, cached, scales], attributes: { buffer } }) => {
    const { g } = ctx;
    const keys = byGroup(g, ctx.value(k!), k!.shape[1] as number); // [B, G, 1, T, D]
    const length = onnx.sqrt(g, onnx.reduceSum(g, onnx.mul(g, keys, keys), -1));
    const own = onnx.reduceSum(g, onnx.div(g, keys, onnx.max(g, length, g.scalar(TINY))), 3);
    const all = onnx.add(g, onnx.reshape(g, ctx.value(sums!), [0, 0, 1, 1, -1], own.shape), own);
    const slots = wideKeys(ctx, { q: k!, k: k!, cached: cached!, scales }, buffer)();
    const products = [slots, keys].map((x) => onnx.matmulTransposed(g, all, x));
    return [onnx.squeeze(g, onnx.squeeze(g, onnx.concat(g, products, -1), 3), 2)];
  },
  attendTo: (ctx, node) => [attendAll(ctx, node, ctx.input(node.inputs[3]!, [1, 2]))],
  attendWithin: (ctx, node) => [attendAll(ctx, node, sequenceMask(ctx, node))],
  queryMoments: (ctx, { inputs: [q, weights], attributes: { groups } }) => {
    const { g } = ctx;
    const queries = byGroup(g, ctx.value(q!), groups);
    const row = ctx.input(weights!, [1, 2, 3]); // [B, 1, 1, 1, T]
    const weighted = onnx.mul(g, queries, onnx.transpose(g, row, [0, 1, 2, 4, 3]));
    const outer = onnx.matmul(g, onnx.transpose(g, weighted, [0, 1, 2, 4, 3]), queries);
    return [onnx.matmul(g, row, queries), outer];
  },
  prefixAttend: (ctx, { inputs: [q, keys, values, gate, hidden], attributes: { scale, softcap }, outputs: [out] }) => {
    const { g } = ctx;
    const G = keys!.shape[1] as number;
    const scaled = scaledQueries(ctx, ctx.value(q!), G, scale);
    const [B, , R, T] = scaled.shape;
    const [k, v] = [ctx.input(keys!, [2]), ctx.input(values!, [2])];
    const scores = capped(g, onnx.matmulTransposed(g, scaled, k), softcap); // [B, G, R, T, n·P]
    const mask = ctx.input(hidden!, [1, 2, 3]); // [b, 1, 1, 1, n, P]
    const lengths = [g.ints(0, 0, 0, 0), onnx.shapeOf(g, mask, 4, 6)];
    const each = onnx.reshapeTo(g, scores, lengths, [B, G, R, T, 'n', 'P']);
    const open = onnx.reshape(g, ctx.value(gate!), [0, G, R as number, 1, -1, 1], ['b', G, R, 1, 'n', 1]);
    const weights = onnx.mul(g, onnx.softmax(g, onnx.add(g, each, mask)), open);
    const flat = onnx.reshape(g, weights, [0, 0, 0, 0, -1], [B, G, R, T, k.shape[3]]);
    return [joinHeads(g, onnx.matmul(g, flat, v), out)];
  },
};
