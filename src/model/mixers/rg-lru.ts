/**
 * @file Griffin's recurrent block (arXiv 2402.19427): a short causal convolution, then a gated linear recurrence.
 *
 * It keeps two states a layer: the last inputs of the convolution, and the recurrence's vector h. They are graph inputs
 * `state.conv.L`, `state.h.L` and outputs `next.conv.L`, `next.h.L`, the latter after as many tokens as `stateTimes` says: padding
 * comes behind a row's tokens, so a state that is taken in time knows nothing of it.
 */

import type { Value } from '../../backends/onnx/builder.ts';
import {
  add,
  concat,
  div,
  equal,
  exp,
  mul,
  neg,
  reshape,
  reshapeTo,
  shapeOf,
  softplus,
  split,
  sqrt,
  sub,
  tanh,
  transpose,
  where,
} from '../../backends/onnx/ops.ts';
import type { Config } from '../../config/config.ts';
import type { StateShape } from '../../kvcache/shape.ts';
import { range } from '../../util/numbers.ts';
import type { ModelContext } from '../context.ts';
import { linear } from '../linear.ts';
import { activate } from '../mlp.ts';

/** The step's inputs that a recurrent block reads. */
export interface RecurrentInputs {
  /** int64 [B, S]: after how many of the chunk's tokens a state is wanted. */
  readonly times: Value;
  /** Positions of the tokens [B, 1, 1, 1, T]. */
  readonly positions: Value;
}

export interface RecurrentOutputs {
  readonly y: Value;
  /** By name, [B, S, ...dims]. */
  readonly next: Readonly<Record<string, Value>>;
}

/** What a cache has to keep for a layer. */
export function recurrentStates(config: Config, layer: number): StateShape[] {
  const { width: W, convWidth } = config.recurrent!;
  return [
    { name: `conv.${layer}`, dims: [convWidth - 1, W] },
    { name: `h.${layer}`, dims: [W] },
  ];
}

/** @param x [B, T, E], normalised. */
export function recurrent(ctx: ModelContext, x: Value, layer: number, inputs: RecurrentInputs): RecurrentOutputs {
  const { g, config } = ctx;
  const { width: W, convWidth: K } = config.recurrent!;
  const name = `h.${layer}.rec`;
  const [B, T] = x.shape;
  const [conv, h] = recurrentStates(config, layer).map((state) => ({
    name: state.name,
    value: g.input(`state.${state.name}`, 'float32', [B, ...state.dims]),
  }));
  const parts = ['y', 'x'].map((part) => ({ name: `${name}.${part}`, out: W }));
  const [gate, u] = split(g, linear(ctx, x, `${name}.yx`, parts, true), -1, [W, W]);

  const padded = concat(g, [conv.value, u], 1); // [B, K - 1 + T, W]
  const convolved = convolve(ctx, padded, T, `${name}.conv`);
  const { decay, input } = gates(ctx, convolved, inputs.positions, name);
  const states = g.scan(h.value, [decay, input], 1, (state, [a, b]) => add(g, mul(g, a, state), b)); // [B, T, W]
  const y = mul(g, states, activate(ctx, gate));

  const first = reshape(g, h.value, [0, 1, W], [B, 1, W]);
  const flat = reshape(g, concat(g, [first, states], 1), [0, -1, W], [B, 'T+1', W]);
  const tails = range(K - 1).map((i) => {
    const at = i === 0 ? inputs.times : add(g, inputs.times, g.ints(i));
    const rows = takeTimes(ctx, padded, at); // [B, S, W]
    return reshape(g, rows, [0, 0, 1, W], [B, 'S', 1, W]);
  });
  return {
    y: linear(ctx, y, `${name}.out`, [{ name: `${name}.out`, out: config.nEmbd }], true),
    next: { [conv.name]: concat(g, tails, 2), [h.name]: takeTimes(ctx, flat, inputs.times) },
  };
}

/** Rows of x [B, ·, W] at `times` [B, S] of its second axis → [B, S, W]. */
function takeTimes({ g }: ModelContext, x: Value, times: Value): Value {
  const [B, , W] = x.shape;
  const places = reshape(g, times, [0, -1, 1], [B, 'S', 1]);
  const out = { dtype: x.dtype, shape: [B, 'S', W] };
  return g.node('GatherND', [x, places], [out], { attributes: { batch_dims: 1 } })[0];
}

/** Each channel by itself: out[t] = Σ w[i] · padded[t + i] + b. @param padded [B, K - 1 + T, W] */
function convolve(ctx: ModelContext, padded: Value, T: Value['shape'][number], name: string): Value {
  const { g, config } = ctx;
  const { width: W, convWidth: K } = config.recurrent!;
  const taps = split(
    g,
    ctx.plain(`${name}.weight`, [K, W]),
    0,
    range(K).map(() => 1),
  );
  const length = sub(g, shapeOf(g, padded, 1, 2), g.ints(K - 1));
  const shape = [padded.shape[0], T, W];
  let sum = ctx.plain(`${name}.bias`, [W]);
  for (const [i, tap] of taps.entries()) {
    const end = i === 0 ? length : add(g, length, g.ints(i));
    const piece = g.node('Slice', [padded, g.ints(i), end, g.ints(1)], [{ dtype: 'float32', shape }])[0];
    sum = add(g, mul(g, piece, tap), sum);
  }
  return sum;
}

/** Exponent of the decay, at most. */
const C = 8;

/**
 * h[t] = decay · h[t - 1] + input, with decay a = exp(-e), e = 8 · r · softplus(Λ), and input √(1 - a²) · i · u, where r and i are
 * sigmoid gates of u. A sequence begins with a = 0 and its input as it is.
 *
 * Small e are where memory is long, and where 1 - a² would lose its digits: it is 2t / (1 + t) with t = tanh(e). For the same reason
 * the gates are not made with the runtime's Sigmoid, which is coarse for small results.
 * @param u [B, T, W]
 */
function gates(ctx: ModelContext, u: Value, positions: Value, name: string): { decay: Value; input: Value } {
  const { g, config } = ctx;
  const { width: W, blocks: H } = config.recurrent!;
  const width = W / H;
  const [B, T] = u.shape;
  const one = g.scalar(1);
  const blocks = transpose(g, reshape(g, u, [0, 0, H, width], [B, T, H, width]), [0, 2, 1, 3]); // [B, H, T, W/H]
  const gate = (kind: string): Value => {
    const product = g.node(
      'MatMul',
      [blocks, ctx.plain(`${name}.${kind}.weight`, [H, width, width])],
      [{ dtype: 'float32', shape: [B, H, T, width] }],
    )[0];
    const flat = reshapeTo(g, transpose(g, product, [0, 2, 1, 3]), [shapeOf(g, u, 0, 3)], u.shape);
    const biased = add(g, flat, ctx.plain(`${name}.${kind}.bias`, [W]));
    return div(g, one, add(g, exp(g, neg(g, biased)), one));
  };
  const rate = mul(g, softplus(g, ctx.plain(`${name}.lambda`, [W])), g.scalar(C));
  const exponent = mul(g, gate('r'), rate);
  const begins = reshape(g, equal(g, positions, g.scalar(0)), [0, -1, 1], [B, T, 1]);
  const t = tanh(g, exponent);
  const rest = sqrt(g, div(g, mul(g, t, g.scalar(2)), add(g, t, one)));
  return {
    decay: where(g, begins, g.scalar(0), exp(g, neg(g, exponent))),
    input: mul(g, mul(g, u, gate('i')), where(g, begins, one, rest)),
  };
}
