/**
 * @file Mamba-2 (arXiv 2405.21060): a short convolution, then a scan of heads that each decay by one number.
 *
 * Parameters: `h.L.ssm.in` (rows [z | x | b | c | dt]), `.out`; `.conv.weight` [K, I + 2·G·N], `.conv.bias`; `.a_log`,
 * `.d`, `.dt_bias` [heads]; `.norm.weight` [I].
 */
import type { Mamba2 } from '../../config/layer-spec.ts';
import { add, mul, reshape, split, unary } from '../../ops/basic.ts';
import { norm as normalize } from '../../ops/layers.ts';
import { selectiveScan } from '../../ops/states.ts';
import type { Value } from '../../ops/types.ts';
import { type ModelContext, plainParam } from '../context.ts';
import { linearOf } from '../linear.ts';
import { mamba2States } from './state-shapes.ts';
import { convolution, decayRate, type StateOutputs, stateInput } from './states.ts';
import type { StateInputs } from './types.ts';

/** @param x [B, T, E], normalized. */
export function mamba2(ctx: ModelContext, x: Value, layer: number, spec: Mamba2, { times }: StateInputs): StateOutputs {
  const { g } = ctx;
  const { heads: H, headSize: P, groups: G, stateSize: N, bias } = spec;
  const name = `h.${layer}.ssm`;
  const [conv, ssm] = mamba2States(spec, layer);
  const [B, T] = x.shape;
  const [I, shared] = [H * P, G * N];
  const widths = [I, I + 2 * shared, H];
  const projected = linearOf(ctx, x, `${name}.in`, widths[0] + widths[1] + widths[2], { bias: bias.proj });
  const packed = spec.partScales
    ? mul(g, projected, factors(ctx, spec.partScales, [I, I, shared, shared, H]))
    : projected;
  const [z, xbc, dt] = split(g, packed, -1, widths);
  const [convolved, nextConv] = convolution(ctx, xbc, `${name}.conv`, { state: conv, times, bias: bias.conv });
  const [u, b, c] = split(g, unary(g, 'silu', convolved), -1, [I, shared, shared]);
  const heads = reshape(g, u, [0, 0, H, P], [B, T, H, P]);
  const perGroup = (part: Value) => reshape(g, part, [0, 0, G, N], [B, T, G, N]);
  const [scanned, nextSsm] = selectiveScan(
    g,
    {
      state: stateInput(g, ssm),
      x: heads,
      dt: add(g, dt, plainParam(ctx, `${name}.dt_bias`, [H])),
      a: decayRate(ctx, `${name}.a_log`, [H]),
      b: perGroup(b),
      c: perGroup(c),
      times,
    },
    { low: spec.timeLimit[0], high: spec.timeLimit[1] },
  );
  const skip = mul(g, heads, plainParam(ctx, `${name}.d`, [H, 1]));
  const y = reshape(g, add(g, scanned, skip), [0, 0, I], [B, T, I]);
  const out = gatedNorm(ctx, y, unary(g, 'silu', z), spec, name);
  return {
    y: linearOf(ctx, out, `${name}.out`, ctx.config.nEmbd, { bias: bias.proj }),
    next: { [conv.name]: nextConv, [ssm.name]: nextSsm },
  };
}

/** A vector of parts: `widths[i]` times `scales[i]`. */
function factors({ g }: ModelContext, scales: readonly number[], widths: readonly number[]): Value {
  const make = () => {
    const data = Float32Array.from(scales.flatMap((scale, i) => new Array<number>(widths[i]).fill(scale)));
    return { data, shape: [data.length] };
  };
  return g.sharedConstant(`factors.${scales}.${widths}`, make);
}

/** y [B, T, I], gated and normalized, each group of its width by itself. */
function gatedNorm(ctx: ModelContext, y: Value, gate: Value, { norm, heads, headSize }: Mamba2, name: string): Value {
  const { g } = ctx;
  if (!norm) return mul(g, y, gate);
  const [B, T, I] = [y.shape[0], y.shape[1], heads * headSize];
  const { groups, kind, eps } = norm;
  const normed = (x: Value): Value => {
    const weight = plainParam(ctx, `${name}.norm.weight`, [I]);
    if (groups === 1) return normalize(g, x, weight, null, { kind, eps });
    const parts = reshape(g, x, [0, 0, groups, I / groups], [B, T, groups, I / groups]);
    const bare = normalize(g, parts, null, null, { kind, eps });
    return mul(g, reshape(g, bare, [0, 0, I], [B, T, I]), weight);
  };
  return norm.place === 'before-gate' ? mul(g, normed(y), gate) : normed(mul(g, y, gate));
}
