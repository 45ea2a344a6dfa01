/**
 * @file Mixtures of experts: each token is multiplied with the matrices of the experts that it chose, and no others.
 */
import type { MoeMlp, RouterSpec } from '../../../config/mlp-spec.ts';
import { HIDDEN } from '../../../kvcache/slots/slots.ts';
import { GraphError } from '../../../util/errors.ts';
import { blockLength } from '../binding/types.ts';
import type { Tensor } from '../memory/tensor.ts';
import { affine, binary, clip, gated, scale, unary } from './elementwise.ts';
import type { GraphMaker } from './graph-maker.ts';
import { sumOfTerms } from './layers.ts';

/** Beyond every number that a model makes. */
const NO_LIMIT = 3e38;

function softmax(g: GraphMaker, x: Tensor): Tensor {
  return g.same(x, 'ggml_soft_max_ext', g.dense(x).pointer, null, 1, 0);
}

/** The `k` largest of each row: their indices [N, k]. */
function largest(g: GraphMaker, scores: Tensor, k: number): Tensor {
  const DESCENDING = 1;
  const order = g.made(g.call('ggml_argsort', g.dense(scores).pointer, DESCENDING), scores.dims, 'i32');
  return g.dense(g.slice(order, 1, 0, k));
}

/** x [N, n] at indices [N, k] */
function pick(g: GraphMaker, x: Tensor, index: Tensor): Tensor {
  const [N, n] = x.dims;
  const k = index.dims[1];
  const picked = g.call('ggml_get_rows', g.reshape(x, [N, n, 1]).pointer, index.pointer);
  return g.reshape(g.made(picked, [N, k, 1]), [N, k]);
}

/** @param logits [N, experts] @param choiceBias [experts] or null @returns indices [N, k] and weights [N, k] */
export function route(g: GraphMaker, logits: Tensor, choiceBias: Tensor | null, attributes: RouterSpec): Tensor[] {
  const { score, groups, perToken } = attributes;
  if (score === 'sparsemixer') return sparsemixer(g, logits, attributes);
  const scores = score === 'softmax' ? softmax(g, logits) : score === 'sigmoid' ? unary(g, 'sigmoid', logits) : logits;
  const biased = choiceBias ? binary(g, 'add', scores, choiceBias) : scores;
  const chosen = largest(g, groups ? withinGroups(g, biased, groups) : biased, perToken);
  const picked = pick(g, scores, chosen);
  return [chosen, normalized(g, score === 'softmax-chosen' ? softmax(g, picked) : picked, attributes)];
}

/**
 * Scores of the experts; those of groups that are not among the best are out of the question.
 * @param scores [N, experts]
 */
function withinGroups(
  g: GraphMaker,
  scores: Tensor,
  { count, perToken, by }: NonNullable<RouterSpec['groups']>,
): Tensor {
  const [N, experts] = scores.dims;
  const size = experts / count;
  const rows = g.reshape(scores, [N * count, size]);
  const best = g.sumLast(pick(g, rows, largest(g, rows, by === 'max' ? 1 : Math.min(2, size))));
  const ofGroups = g.reshape(best, [N, count]);
  const kept = pick(g, ofGroups, largest(g, ofGroups, perToken));
  const least = g.dense(g.slice(kept, 1, perToken - 1, 1)); // [N, 1]
  const isOut = unary(g, 'step', binary(g, 'sub', least, ofGroups));
  const penalty = g.reshape(scale(g, isOut, HIDDEN), [N * count, 1]);
  return g.reshape(binary(g, 'add', rows, penalty), [N, experts]);
}

/** Weights divided by their p-norm, and scaled. */
function normalized(g: GraphMaker, weights: Tensor, { normP: p, normEps, normMin, scale: factor }: RouterSpec): Tensor {
  let y = weights;
  if (p !== null) {
    const power = (x: Tensor, exponent: number): Tensor => unary(g, 'exp', scale(g, unary(g, 'log', x), exponent));
    let norm = p === 1 ? g.sumLast(weights) : power(g.sumLast(power(weights, p)), 1 / p);
    if (normEps > 0) norm = affine(g, norm, 1, normEps);
    if (normMin > 0) norm = clip(g, norm, { low: normMin, high: NO_LIMIT });
    y = binary(g, 'div', weights, norm);
  }
  return factor === 1 ? y : scale(g, y, factor);
}

/**
 * Two rounds: the best expert, weighted among those within a threshold of it; then the same without it. Weights do not
 * add up to one.
 */
function sparsemixer(g: GraphMaker, scores: Tensor, { jitter, perToken }: RouterSpec): Tensor[] {
  if (perToken !== 2) throw new GraphError('sparsemixer chooses two experts');
  const size = unary(g, 'abs', scores);
  const chosen: Tensor[] = [];
  const weights: Tensor[] = [];
  let left = scores;
  for (let round = 0; round < 2; round++) {
    const index = largest(g, left, 1);
    const best = pick(g, left, index); // [N, 1]
    const behind = binary(g, 'sub', best, scores);
    // max(a, b) = a + relu(b - a)
    const bound = binary(g, 'add', size, unary(g, 'relu', binary(g, 'sub', best, size)));
    const isFar = unary(g, 'step', affine(g, binary(g, 'div', behind, bound), 1, -2 * jitter));
    const shares = softmax(g, without(g, left, isFar));
    chosen.push(index);
    weights.push(pick(g, shares, index));
    // 1 where a score is the best: nothing is above it.
    const isBest = affine(g, unary(g, 'step', binary(g, 'sub', best, left)), -1, 1);
    left = without(g, left, isBest);
  }
  return [
    g.made(g.call('ggml_concat', chosen[0].pointer, chosen[1].pointer, 0), [scores.dims[0], 2], 'i32'),
    g.concat(weights, 1),
  ];
}

/** x, and HIDDEN where `gone` is 1. */
function without(g: GraphMaker, x: Tensor, gone: Tensor): Tensor {
  const kept = binary(g, 'mul', x, affine(g, gone, -1, 1));
  return binary(g, 'add', kept, scale(g, gone, HIDDEN));
}

/**
 * A stack of matrices [experts · out, in] times x [N, 1 or k, in], each token with those it chose [N, k] → [N, k, out]
 */
export function expertLinear(g: GraphMaker, x: Tensor, chosen: Tensor, stack: Tensor, count: number): Tensor {
  // Weights are stacks already.
  const matrices = stack.dims.length === 3 ? stack : g.reshape(stack, [count, stack.dims[0] / count, stack.dims[1]]);
  const k = chosen.dims[1];
  const multiply = (input: Tensor, choice: Tensor): Tensor => {
    const product = g.call('ggml_mul_mat_id', matrices.pointer, g.dense(input).pointer, g.dense(choice).pointer);
    return g.made(product, [choice.dims[0], k, matrices.dims[1]]);
  };
  return stack.refined
    ? sumOfTerms(g, multiply(g.terms(x, blockLength(stack.type)), g.concat([chosen, chosen], 0)))
    : multiply(x, chosen);
}

/** The weighted sum of each token's experts. @param x [N, E] @param weights [N, k] */
export function experts(
  g: GraphMaker,
  x: Tensor,
  chosen: Tensor,
  weights: Tensor,
  matrices: readonly Tensor[],
  biases: readonly Tensor[],
  spec: MoeMlp['experts'],
): Tensor {
  const [N, E] = x.dims;
  const k = chosen.dims[1];
  const factors = g.reshape(weights, [N, k, 1]);
  const one = g.reshape(x, [N, 1, E]);
  const tokens = spec.scaledInput ? binary(g, 'mul', g.repeat(one, [N, k, E]), factors) : one;
  const through = (input: Tensor, which: number): Tensor => {
    const y = expertLinear(g, input, chosen, matrices[which], spec.count);
    if (!spec.bias) return y;
    const width = biases[which].dims[0] / spec.count;
    return binary(g, 'add', y, g.rows(g.reshape(biases[which], [spec.count, width]), chosen));
  };
  const last = matrices.length - 1;
  const inner = matrices.slice(0, last).map((_, which) => through(tokens, which));
  const out = through(hiddenOf(g, inner, spec), last);
  const each = spec.scaledInput ? out : binary(g, 'mul', out, factors);
  const parts = Array.from({ length: k }, (_, i) => g.reshape(g.dense(g.slice(each, 1, i, 1)), [N, E]));
  return parts.reduce((a, b) => binary(g, 'add', a, b));
}

/** What goes into the projection down: of gate and up, or of up alone. */
function hiddenOf(
  g: GraphMaker,
  inner: readonly Tensor[],
  { activation, clamp, gated: hasGate }: MoeMlp['experts'],
): Tensor {
  if (!hasGate) return unary(g, activation, inner[0]);
  if (clamp === null) return gated(g, activation, inner[0], inner[1]);
  const gate = unary(g, 'quick-gelu', clip(g, inner[0], { low: -NO_LIMIT, high: clamp }));
  return binary(g, 'mul', gate, affine(g, clip(g, inner[1], { low: -clamp, high: clamp }), 1, 1));
}
