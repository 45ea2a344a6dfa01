/**
 * @file Mixtures of experts.
 */
import type { RouterSpec } from '../../../config/layer-spec.ts';
import { GraphError } from '../../../util/errors.ts';
import { range } from '../../../util/numbers.ts';
import { FORMAT_BITS, scaleName } from '../../../weights/codec.ts';
import { blockBytes, QUANT_BLOCK } from '../../../weights/quantise.ts';
import type { Param } from '../../../weights/types.ts';
import { type GraphBuilder, MICROSOFT, type Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerTable } from './context.ts';
import { product } from './layers.ts';

/** Score of an expert that is not to be chosen. */
const OUT = -1e30;

/** Weights divided by their p-norm [N, k]. */
function normalized(g: GraphBuilder, weights: Value, p: number | null): Value {
  if (p === null) return weights;
  if (p === 1) return onnx.div(g, weights, onnx.reduceSum(g, weights, -1));
  const norm = onnx.pow(g, onnx.reduceSum(g, onnx.pow(g, weights, g.scalar(p)), -1), g.scalar(1 / p));
  return onnx.div(g, weights, norm);
}

/**
 * Two rounds: the best expert, weighted among those within a threshold of it; then the same without it. Weights do not add
 * up to one. @param scores [N, experts]. @returns experts and weights [N, 2]
 */
function sparsemixer(g: GraphBuilder, scores: Value, { jitter, perToken }: RouterSpec): Value[] {
  if (perToken !== 2) throw new GraphError('sparsemixer chooses two experts');
  const size = onnx.abs(g, scores);
  const weights: Value[] = [];
  const experts: Value[] = [];
  let left = scores;
  for (let round = 0; round < 2; round++) {
    const [best, expert] = onnx.topK(g, left, 1); // [N, 1]
    const distance = onnx.div(g, onnx.sub(g, best, scores), onnx.max(g, size, best));
    const far = onnx.greater(g, distance, g.scalar(2 * jitter));
    weights.push(onnx.takeAlong(g, onnx.softmax(g, onnx.where(g, far, g.scalar(OUT), left)), expert));
    experts.push(expert);
    left = onnx.putAlong(g, left, expert, onnx.filledLike(g, best, OUT));
  }
  return [onnx.concat(g, experts, -1), onnx.concat(g, weights, -1)];
}

/**
 * Logits whose softmax over the chosen experts is the chosen weights' share: what the fused operators read, and the sum
 * of the weights, which their results are multiplied with (null: one).
 */
function fusedRouting(
  g: GraphBuilder,
  [logits, chosen, weights]: readonly Value[],
  { score, normP }: RouterSpec,
): { logits: Value; scale: Value | null } {
  const scale = score === 'softmax' && normP === 1 ? null : onnx.reduceSum(g, weights, -1); // [N, 1]
  if (score === 'softmax') return { logits, scale };
  const logs = onnx.log(g, onnx.add(g, weights, g.scalar(1e-30)));
  return { logits: onnx.putAlong(g, onnx.filledLike(g, logits, OUT), chosen, logs), scale };
}

/** A stack of experts' matrices as the fused operators read it: values, and scales where it is quantized. */
function stacked(g: GraphBuilder, { name, shape, format }: Param, count: number): Value[] {
  const [rows, cols] = [shape[0] / count, shape[1]];
  if (format === 'float32') return [g.external(name, 'float32', [count, rows, cols])];
  const blocks = cols / QUANT_BLOCK;
  return [
    g.external(name, 'uint8', [count, rows, blocks * blockBytes(FORMAT_BITS[format])]),
    g.external(scaleName(name), 'float32', [count, rows, blocks]),
  ];
}

/** int64 [M, 2]: which tokens chose an expert, and as which of their choices. @param chosen [N, k] */
function choicesOf(g: GraphBuilder, chosen: Value, expert: number): Value {
  const match = onnx.equal(g, chosen, g.ints(expert));
  const [indices] = g.node('NonZero', [match], [{ dtype: 'int64', shape: [2, 'M'] }]);
  return onnx.transpose(g, indices, [1, 0]);
}

export const EXPERTS: LowerTable = {
  route: (ctx, { inputs: [logits], attributes }) => {
    const { g } = ctx;
    const scores = ctx.value(logits!);
    if (attributes.score === 'sparsemixer') return sparsemixer(g, scores, attributes);
    const [best, experts] = onnx.topK(g, onnx.softmax(g, scores), attributes.perToken);
    return [experts, normalized(g, best, attributes.normP)];
  },
  experts: (ctx, { inputs, attributes: { layout, count, router } }) => {
    const { g } = ctx;
    if (layout !== 'interleaved') throw new GraphError(`ONNX has no operator for ${layout} experts`);
    const [x, ...routing] = inputs.slice(0, 4).map((value) => ctx.value(value!));
    const [gateUp, down] = inputs.slice(4).map((value) => ctx.param(value!));
    const [fc1, fc2] = [stacked(g, gateUp, count), stacked(g, down, count)];
    const { logits, scale } = fusedRouting(g, routing, router);
    const attributes = {
      k: router.perToken,
      activation_type: 'swiglu',
      swiglu_fusion: 1,
      normalize_routing_weights: 1,
      activation_alpha: { float: 1 },
      activation_beta: { float: 0 },
    };
    const { format } = gateUp;
    const [y] =
      format === 'float32'
        ? g.node('MoE', [x, logits, fc1[0], null, fc2[0]], [x], { attributes, domain: MICROSOFT })
        : g.node('QMoE', [x, logits, ...fc1, null, ...fc2], [x], {
            attributes: { ...attributes, expert_weight_bits: FORMAT_BITS[format], block_size: QUANT_BLOCK },
            domain: MICROSOFT,
          });
    return [scale ? onnx.mul(g, y, scale) : y];
  },
  expertLinear: (ctx, { inputs: [x, chosen, ...matrices], attributes: { count }, outputs: [out] }) => {
    const { g } = ctx;
    const [value, choices] = [ctx.value(x!), ctx.value(chosen!)];
    const [N, k, width] = out.shape;
    const perChoice = value.shape[1] === k && k !== 1;
    const flat = perChoice ? value : onnx.reshape(g, value, [0, -1], [N, value.shape[2]]);
    let y = onnx.filled(g, [onnx.shapeOf(g, value, 0, 1), g.ints(k as number, width as number)], out.shape, 0);
    for (const e of range(count)) {
      const index = choicesOf(g, choices, e);
      const rows = onnx.gatherNd(g, flat, perChoice ? index : onnx.split(g, index, -1, [1, 1])[0]);
      y = onnx.scatterRows(g, y, index, product(g, rows, ctx.param(matrices[e]!), null), 'none');
    }
    return [y];
  },
  tokensOf: (ctx, { inputs: [x, chosen, weights], attributes: { expert } }) => {
    const { g } = ctx;
    const choices = choicesOf(g, ctx.value(chosen!), expert);
    const tokens = onnx.split(g, choices, -1, [1, 1])[0];
    const [flat] = g.node('GatherND', [ctx.value(weights!), choices], [{ dtype: 'float32', shape: ['M'] }]);
    return [tokens, onnx.gatherNd(g, ctx.value(x!), tokens), onnx.reshape(g, flat, [-1, 1], ['M', 1])];
  },
  addRows: (ctx, { inputs: [x, tokens, rows] }) => [
    onnx.scatterRows(ctx.g, ctx.value(x!), ctx.value(tokens!), ctx.value(rows!), 'add'),
  ],
};
