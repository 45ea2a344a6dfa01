/**
 * @file LFM2's short convolution, gated on both sides: out(c · conv(b · x)), where b, c and x are projections.
 *
 * Parameters: `h.L.conv.in` (rows [b | c | x]), `.out`, `.conv.weight` [K, W], each with a bias where the spec says so.
 */
import type { ShortConv } from '../../config/layer-spec.ts';
import { mul, split } from '../../ops/basic.ts';
import type { Value } from '../../ops/types.ts';
import type { ModelContext } from '../context.ts';
import { linearOf } from '../linear.ts';
import { shortConvStates } from './state-shapes.ts';
import { convolution, type StateOutputs } from './states.ts';
import type { StateInputs } from './types.ts';

/** @param x [B, T, E], normalized. */
export function shortConv(
  ctx: ModelContext,
  x: Value,
  layer: number,
  spec: ShortConv,
  { times }: StateInputs,
): StateOutputs {
  const { g } = ctx;
  const { width: W, bias } = spec;
  const name = `h.${layer}.conv`;
  const [conv] = shortConvStates(spec, layer);
  const [b, c, u] = split(g, linearOf(ctx, x, `${name}.in`, 3 * W, { bias }), -1, [W, W, W]);
  const [convolved, next] = convolution(ctx, mul(g, b, u), `${name}.conv`, { state: conv, times, bias });
  return {
    y: linearOf(ctx, mul(g, c, convolved), `${name}.out`, ctx.config.nEmbd, { bias }),
    next: { [conv.name]: next },
  };
}
