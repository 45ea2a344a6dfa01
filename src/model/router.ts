/**
 * @file Which experts a token goes to, and how much each of them counts.
 */

import type { Value } from '../backends/onnx/builder.ts';
import {
  abs,
  add,
  concat,
  div,
  equal,
  filledLike,
  greater,
  log,
  max,
  pow,
  putAlong,
  reduceSum,
  reshape,
  softmax,
  split,
  sub,
  takeAlong,
  topK,
  transpose,
  where,
} from '../backends/onnx/ops.ts';
import { GraphError } from '../util/errors.ts';
import type { ModelContext } from './context.ts';
import { linear } from './linear.ts';

/** The choice for N tokens. */
export interface Routing {
  /** The router's logits [N, experts]. */
  readonly logits: Value;
  /** int64 [N, k] */
  readonly experts: Value;
  /** [N, k] */
  readonly weights: Value;
}

/** Score of an expert that is out of the question. */
const OUT = -1e30;

/** @param x [N, E] */
export function route(ctx: ModelContext, x: Value, name: string): Routing {
  const moe = ctx.config.moe!;
  // A router is small, and a wrong choice costs more than its rounding saves: never quantised.
  const logits = linear(ctx, x, `${name}.gate`, [{ name: `${name}.gate`, out: moe.nExpert }], false, 'float32');
  if (moe.router === 'sparsemixer') return { logits, ...sparsemixer(ctx, logits) };
  const { g } = ctx;
  const [best, experts] = topK(g, softmax(g, logits), moe.nExpertPerToken);
  return { logits, experts, weights: normalised(ctx, best) };
}

/** Weights divided by their p-norm [N, k]. */
function normalised({ g, config }: ModelContext, weights: Value): Value {
  const p = config.moe!.normP;
  if (p === null) return weights;
  if (p === 1) return div(g, weights, reduceSum(g, weights, -1));
  const norm = pow(g, reduceSum(g, pow(g, weights, g.scalar(p)), -1), g.scalar(1 / p));
  return div(g, weights, norm);
}

/**
 * Two rounds: the best expert, weighted among those within a threshold of it; then the same without it. Weights do not add
 * up to one. @param scores [N, experts]
 */
function sparsemixer({ g, config }: ModelContext, scores: Value): Pick<Routing, 'experts' | 'weights'> {
  const { jitter, nExpertPerToken } = config.moe!;
  if (nExpertPerToken !== 2) throw new GraphError('sparsemixer chooses two experts');
  const out = g.scalar(OUT);
  const size = abs(g, scores);
  const weights: Value[] = [];
  const experts: Value[] = [];
  let left = scores;
  for (let round = 0; round < 2; round++) {
    const [best, expert] = topK(g, left, 1); // [N, 1]
    const distance = div(g, sub(g, best, scores), max(g, size, best));
    const far = greater(g, distance, g.scalar(2 * jitter));
    const shares = softmax(g, where(g, far, out, left));
    weights.push(takeAlong(g, shares, expert));
    experts.push(expert);
    left = putAlong(g, left, expert, filledLike(g, best, OUT));
  }
  return { experts: concat(g, experts, -1), weights: concat(g, weights, -1) };
}

/**
 * Logits whose softmax over the chosen experts is the chosen weights' share: what the fused operators want to see, and the sum
 * of the weights, which their results are to be multiplied with (null: one).
 */
export function fusedRouting(ctx: ModelContext, routing: Routing): { logits: Value; scale: Value | null } {
  const { g, config } = ctx;
  const moe = config.moe!;
  const scale = moe.router === 'softmax' && moe.normP === 1 ? null : reduceSum(g, routing.weights, -1); // [N, 1]
  if (moe.router === 'softmax') return { logits: routing.logits, scale };
  const none = filledLike(g, routing.logits, OUT);
  const logs = log(g, add(g, routing.weights, g.scalar(1e-30)));
  return { logits: putAlong(g, none, routing.experts, logs), scale };
}

/** The tokens that chose an expert, M of them. */
export interface Chosen {
  /** int64 [M, 2]: which token, and as which of its choices. */
  readonly places: Value;
  /** int64 [M, 1]: which token. */
  readonly tokens: Value;
  /** [M, 1] */
  readonly weights: Value;
}

export function chosenBy({ g }: ModelContext, { experts, weights }: Routing, expert: number): Chosen {
  const match = equal(g, experts, g.ints(expert));
  const where2 = g.node('NonZero', [match], [{ dtype: 'int64', shape: [2, 'M'] }])[0];
  const places = transpose(g, where2, [1, 0]);
  const tokens = split(g, places, -1, [1, 1])[0];
  const flat = g.node('GatherND', [weights, places], [{ dtype: 'float32', shape: ['M'] }])[0];
  return { places, tokens, weights: reshape(g, flat, [-1, 1], ['M', 1]) };
}
