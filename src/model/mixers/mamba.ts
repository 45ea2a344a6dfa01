/**
 * @file Mamba (arXiv 2312.00752): a short convolution, then a scan of each channel whose steps, inputs and outputs
 * depend on the token.
 *
 * Parameters: `h.L.ssm.in` (rows [x | z]), `.x` (rows [dt | b | c]), `.dt` with a bias, `.out`; `.conv.weight` [K, I],
 * `.conv.bias`; `.a_log` [I, N]; `.d` [I]; where they are normalized with weights, `.dt_norm`, `.b_norm`, `.c_norm`.
 */
import type { Mamba } from '../../config/layer-spec.ts';
import { add, mul, reshape, split, unary } from '../../ops/basic.ts';
import { selectiveScan } from '../../ops/states.ts';
import type { Value } from '../../ops/types.ts';
import { type ModelContext, plainParam } from '../context.ts';
import { linearOf } from '../linear.ts';
import { norm } from '../norm.ts';
import { mambaStates } from './state-shapes.ts';
import { convolution, decayRate, type StateOutputs, stateInput } from './states.ts';
import type { StateInputs } from './types.ts';

/** @param x [B, T, E], normalized. */
export function mamba(ctx: ModelContext, x: Value, layer: number, spec: Mamba, { times }: StateInputs): StateOutputs {
  const { g } = ctx;
  const { width: I, stateSize: N, rank: R, bias } = spec;
  const name = `h.${layer}.ssm`;
  const [conv, ssm] = mambaStates(spec, layer);
  const [B, T] = x.shape;
  const [u, z] = split(g, linearOf(ctx, x, `${name}.in`, 2 * I, { bias: bias.proj }), -1, [I, I]);
  const [convolved, nextConv] = convolution(ctx, u, `${name}.conv`, { state: conv, times, bias: bias.conv });
  const active = unary(g, 'silu', convolved);
  const parts = split(g, linearOf(ctx, active, `${name}.x`, R + 2 * N), -1, [R, N, N]);
  const [rank, b, c] = ['dt', 'b', 'c'].map((part, i) =>
    spec.norm ? norm(ctx, parts[i], spec.norm, `${name}.${part}_norm`) : parts[i],
  );
  const perToken = (part: Value) => reshape(g, part, [0, 0, 1, N], [B, T, 1, N]);
  const [scanned, nextSsm] = selectiveScan(
    g,
    {
      state: stateInput(g, ssm),
      x: reshape(g, active, [0, 0, I, 1], [B, T, I, 1]),
      dt: linearOf(ctx, rank, `${name}.dt`, I, { bias: true, format: 'float32' }),
      a: decayRate(ctx, `${name}.a_log`, [I, N]),
      b: perToken(b),
      c: perToken(c),
      times,
    },
    { low: 0, high: Number.POSITIVE_INFINITY },
  );
  const skipped = mul(g, active, plainParam(ctx, `${name}.d`, [I]));
  const y = add(g, reshape(g, scanned, [0, 0, I], [B, T, I]), skipped);
  return {
    y: linearOf(ctx, mul(g, y, unary(g, 'silu', z)), `${name}.out`, ctx.config.nEmbd, { bias: bias.proj }),
    next: { [conv.name]: nextConv, [ssm.name]: nextSsm },
  };
}
