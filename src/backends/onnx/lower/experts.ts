/**
 * @file Mixtures of experts.
 */
import type { RouterSpec } from '../../../config/mlp-spec.ts';
import { HIDDEN } from '../../../kvcache/slots/slots.ts';
import { GraphError } from '../../../util/errors.ts';
import { range } from '../../../util/numbers.ts';
import { bitsOf, scaleName } from '../../../weights/codec.ts';
import { blockBytes, QUANT_BLOCK } from '../../../weights/formats/quantize.ts';
import type { Param } from '../../../weights/types.ts';
import { type GraphBuilder, MICROSOFT, type Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerTable } from './context.ts';
import { product } from './layers.ts';

/** GPT-OSS's gate is g · σ(1.702 · g). */
const CLAMPED_ALPHA = 1.702;

/** Weights divided by their p-norm, and scaled [N, k]. */
function normalized(g: GraphBuilder, weights: Value, { normP: p, normEps, normMin, scale }: RouterSpec): Value {
  let y = weights;
  if (p !== null) {
    let norm =
      p === 1
        ? onnx.reduceSum(g, weights, -1)
        : onnx.pow(g, onnx.reduceSum(g, onnx.pow(g, weights, g.scalar(p)), -1), g.scalar(1 / p));
    if (normEps > 0) norm = onnx.add(g, norm, g.scalar(normEps));
    if (normMin > 0) norm = onnx.max(g, norm, g.scalar(normMin));
    y = onnx.div(g, weights, norm);
  }
  return scale === 1 ? y : onnx.mul(g, y, g.scalar(scale));
}

/** Scores of the experts; those of groups that are not among the best are out of reach. @param scores [N, experts] */
function withinGroups(
  g: GraphBuilder,
  scores: Value,
  { count, perToken, by }: NonNullable<RouterSpec['groups']>,
): Value {
  const [N, experts] = scores.shape;
  const size = (experts as number) / count;
  const grouped = onnx.reshape(g, scores, [0, count, size], [N, count, size]);
  const best =
    by === 'max' ? onnx.reduceMax(g, grouped, -1) : onnx.reduceSum(g, onnx.topK(g, grouped, Math.min(2, size))[0], -1);
  const flat = onnx.reshape(g, best, [0, count], [N, count]);
  const [kept, chosen] = onnx.topK(g, flat, perToken);
  const mask = onnx.putAlong(g, onnx.filledLike(g, flat, HIDDEN), chosen, onnx.filledLike(g, kept, 0));
  const masked = onnx.add(g, grouped, onnx.reshape(g, mask, [0, count, 1], [N, count, 1]));
  return onnx.reshape(g, masked, [0, experts as number], scores.shape);
}

/** The best experts and their weights [N, k]. */
function bestExperts(g: GraphBuilder, logits: Value, choiceBias: Value | null, spec: RouterSpec): Value[] {
  const { score, groups, perToken } = spec;
  const scores = score === 'softmax' ? onnx.softmax(g, logits) : score === 'sigmoid' ? onnx.sigmoid(g, logits) : logits;
  const biased = choiceBias ? onnx.add(g, scores, choiceBias) : scores;
  const [best, experts] = onnx.topK(g, groups ? withinGroups(g, biased, groups) : biased, perToken);
  const chosen = choiceBias ? onnx.takeAlong(g, scores, experts) : best;
  return [experts, normalized(g, score === 'softmax-chosen' ? onnx.softmax(g, chosen) : chosen, spec)];
}

/**
 * Two rounds: the best expert, weighted among those within a threshold of it; then the same without it. Weights do not
 * add up to one.
 * @param scores [N, experts].
 * @returns experts and weights [N, 2]
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
    weights.push(onnx.takeAlong(g, onnx.softmax(g, onnx.where(g, far, g.scalar(HIDDEN), left)), expert));
    experts.push(expert);
    left = onnx.putAlong(g, left, expert, onnx.filledLike(g, best, HIDDEN));
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
  { score, normP, choiceBias, groups, scale: factor, normEps, normMin, expertScale = false }: RouterSpec,
): { logits: Value; scale: Value | null } {
  const addUpToOne = normP === 1 && factor === 1 && normEps === 0 && normMin === 0 && !expertScale;
  const scale = score === 'softmax' && addUpToOne ? null : onnx.reduceSum(g, weights, -1); // [N, 1]
  if (score === 'softmax' && !choiceBias && !groups && !expertScale) return { logits, scale };
  const logs = onnx.log(g, onnx.add(g, weights, g.scalar(1e-30)));
  return { logits: onnx.putAlong(g, onnx.filledLike(g, logits, HIDDEN), chosen, logs), scale };
}

/** A stack of experts' matrices as the fused operators read it: values, and scales where it is quantized. */
function stacked(g: GraphBuilder, { name, shape, format }: Param, count: number): Value[] {
  const [rows, cols] = [shape[0] / count, shape[1]];
  if (format === 'float32') return [g.external(name, 'float32', [count, rows, cols])];
  const blocks = cols / QUANT_BLOCK;
  return [
    g.external(name, 'uint8', [count, rows, blocks * blockBytes(bitsOf(format))]),
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
  route: (ctx, { inputs: [logits, choiceBias], attributes }) => {
    const { g } = ctx;
    const scores = ctx.value(logits!);
    if (attributes.score === 'sparsemixer') return sparsemixer(g, scores, attributes);
    return bestExperts(g, scores, ctx.optional(choiceBias), attributes);
  },
  experts: (ctx, { inputs, attributes: { layout, spec, router } }) => {
    const { g } = ctx;
    const { count, clamp } = spec;
    if (layout !== 'interleaved') throw new GraphError(`ONNX has no operator for ${layout} experts`);
    const [x, ...routing] = inputs.slice(0, 4).map((value) => ctx.value(value!));
    const [gateUp, down] = inputs.slice(4, 6).map((value) => ctx.param(value!));
    const biases = inputs.slice(6).map((value) => {
      const rows = (value!.shape[0] as number) / count;
      return onnx.reshape(g, ctx.value(value!), [count, rows], [count, rows]);
    });
    const [bias1 = null, ...bias2] = biases;
    const [fc1, fc2] = [stacked(g, gateUp, count), stacked(g, down, count)];
    const { logits, scale } = fusedRouting(g, routing, router);
    const attributes = {
      k: router.perToken,
      activation_type: 'swiglu',
      swiglu_fusion: 1,
      normalize_routing_weights: 1,
      activation_alpha: { float: clamp === null ? 1 : CLAMPED_ALPHA },
      activation_beta: { float: clamp === null ? 0 : 1 },
      ...(clamp === null ? {} : { swiglu_limit: { float: clamp } }),
    };
    const { format } = gateUp;
    const [y] =
      format === 'float32'
        ? g.node('MoE', [x, logits, fc1[0], bias1, fc2[0], ...bias2], [x], { attributes, domain: MICROSOFT })
        : g.node('QMoE', [x, logits, ...fc1, bias1, ...fc2, ...bias2], [x], {
            attributes: { ...attributes, expert_weight_bits: bitsOf(format), block_size: QUANT_BLOCK },
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
      y = onnx.scatterRows(g, y, index, product(ctx, rows, ctx.param(matrices[e]!), null), 'none');
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
