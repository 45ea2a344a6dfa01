/**
 * @file Griffin's recurrent block (arXiv 2402.19427): a short causal convolution, then a gated linear recurrence.
 *
 * It keeps two states a layer: the last inputs of the convolution, and the recurrence's vector h.
 */
import type { RgLru } from '../../config/layer-spec.ts';
import { add, div, mul, scalar, scale, split, sub, unary } from '../../ops/basic.ts';
import { blockLinear } from '../../ops/layers.ts';
import { linearScan, startMask } from '../../ops/states.ts';
import type { Value } from '../../ops/types.ts';
import { type ModelContext, plainParam } from '../context.ts';
import { linear, linearOf } from '../linear.ts';
import { rgLruStates } from './state-shapes.ts';
import { convolution, type StateOutputs, stateInput } from './states.ts';
import type { StateInputs } from './types.ts';

/** @param x [B, T, E], normalized. */
export function rgLru(ctx: ModelContext, x: Value, layer: number, spec: RgLru, inputs: StateInputs): StateOutputs {
  const { g } = ctx;
  const { width: W } = spec;
  const name = `h.${layer}.rec`;
  const [conv, h] = rgLruStates(spec, layer);
  const parts = ['y', 'x'].map((part) => ({ name: `${name}.${part}`, out: W }));
  const [gate, u] = split(g, linear(ctx, x, `${name}.yx`, parts, { bias: true }), -1, [W, W]);

  const [convolved, nextConv] = convolution(ctx, u, `${name}.conv`, { state: conv, times: inputs.times, bias: true });
  const { decay, input } = gates(ctx, convolved, inputs.positions, spec, name);
  const [states, nextH] = linearScan(g, stateInput(g, h), decay, input, inputs.times);
  const y = mul(g, states, unary(g, spec.activation, gate));
  return {
    y: linearOf(ctx, y, `${name}.out`, ctx.config.nEmbd, { bias: true }),
    next: { [conv.name]: nextConv, [h.name]: nextH },
  };
}

/** The largest exponent of the decay. */
const C = 8;

/**
 * h[t] = decay · h[t - 1] + input, with decay a = exp(-e), e = 8 · r · softplus(Λ), and input √(1 - a²) · i · u, where
 * r and i are sigmoid gates of u. A sequence begins with a = 0 and its input unchanged.
 *
 * Where e is small, memory is long and 1 - a² would lose its digits: it is 2t / (1 + t) with t = tanh(e). For the same
 * reason the gates are 1 / (1 + exp(-x)): ONNX Runtime's Sigmoid is coarse for small results.
 * @param u [B, T, W]
 */
function gates(
  ctx: ModelContext,
  u: Value,
  positions: Value,
  { width: W, blocks: H }: RgLru,
  name: string,
): { decay: Value; input: Value } {
  const { g } = ctx;
  const width = W / H;
  const one = scalar(g, 1);
  const gate = (kind: string): Value => {
    const weight = plainParam(ctx, `${name}.${kind}.weight`, [H, width, width]);
    const biased = blockLinear(g, u, weight, plainParam(ctx, `${name}.${kind}.bias`, [W]));
    return div(g, one, add(g, unary(g, 'exp', unary(g, 'neg', biased)), one));
  };
  const rate = scale(g, unary(g, 'softplus', plainParam(ctx, `${name}.lambda`, [W])), C);
  const exponent = mul(g, gate('r'), rate);
  const starts = startMask(g, positions); // [B, T, 1]
  const continues = sub(g, one, starts);
  const t = unary(g, 'tanh', exponent);
  const rest = unary(g, 'sqrt', div(g, scale(g, t, 2), add(g, t, one)));
  return {
    decay: mul(g, unary(g, 'exp', unary(g, 'neg', exponent)), continues),
    input: mul(g, mul(g, u, gate('i')), add(g, mul(g, rest, continues), starts)),
  };
}
