/**
 * @file Mixtures of experts: each token is multiplied with the matrices of the experts that it chose, and no others.
 */
import type { Activation, RouterSpec } from '../../../config/layer-spec.ts';
import { HIDDEN } from '../../../kvcache/slots.ts';
import { GraphError } from '../../../util/errors.ts';
import { affine, binary, gated, scale, unary } from './elementwise.ts';
import type { GraphMaker, Tensor } from './graph-maker.ts';

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

/** @param logits [N, experts]. @returns indices [N, k] and weights [N, k] */
export function route(g: GraphMaker, logits: Tensor, attributes: RouterSpec): Tensor[] {
  if (attributes.score === 'sparsemixer') return sparsemixer(g, logits, attributes);
  if (attributes.score !== 'softmax')
    throw new GraphError(`the ggml engine does not know the routing ${attributes.score}`);
  const shares = softmax(g, logits);
  const chosen = largest(g, shares, attributes.perToken);
  return [chosen, normalised(g, pick(g, shares, chosen), attributes.normP)];
}

/** Weights divided by their p-norm. */
function normalised(g: GraphMaker, weights: Tensor, p: number | null): Tensor {
  if (p === null) return weights;
  if (p === 1) return binary(g, 'div', weights, g.sumLast(weights));
  const power = (x: Tensor, exponent: number): Tensor => unary(g, 'exp', scale(g, unary(g, 'log', x), exponent));
  return binary(g, 'div', weights, power(g.sumLast(power(weights, p)), 1 / p));
}

/**
 * Two rounds: the best expert, weighted among those within a threshold of it; then the same without it. Weights do not add up to one.
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

/** A stack of matrices [experts · out, in] times x [N, 1 or k, in], each token with those it chose [N, k] → [N, k, out] */
export function expertLinear(g: GraphMaker, x: Tensor, chosen: Tensor, stack: Tensor, count: number): Tensor {
  // Weights are stacks already.
  const matrices = stack.dims.length === 3 ? stack : g.reshape(stack, [count, stack.dims[0] / count, stack.dims[1]]);
  const [N, k] = chosen.dims;
  const product = g.call('ggml_mul_mat_id', matrices.pointer, g.dense(x).pointer, g.dense(chosen).pointer);
  return g.made(product, [N, k, matrices.dims[1]]);
}

/** The weighted sum of each token's experts. @param x [N, E] @param weights [N, k] */
export function experts(
  g: GraphMaker,
  x: Tensor,
  chosen: Tensor,
  weights: Tensor,
  [gate, up, down]: readonly Tensor[],
  { count, activation }: { readonly count: number; readonly activation: Activation },
): Tensor {
  const [N, E] = x.dims;
  const k = chosen.dims[1];
  const tokens = g.reshape(x, [N, 1, E]);
  const hidden = gated(
    g,
    activation,
    expertLinear(g, tokens, chosen, gate, count),
    expertLinear(g, tokens, chosen, up, count),
  );
  const each = binary(g, 'mul', expertLinear(g, hidden, chosen, down, count), g.reshape(weights, [N, k, 1]));
  const parts = Array.from({ length: k }, (_, i) => g.reshape(g.dense(g.slice(each, 1, i, 1)), [N, E]));
  return parts.reduce((a, b) => binary(g, 'add', a, b));
}
