/**
 * @file Feed-forward layers with a gate.
 */
import type { GatedMlp } from '../config/layer-spec.ts';
import { mul, split, unary } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import type { ModelContext } from './context.ts';
import { linear, linearOf } from './linear.ts';

/** proj(act(fc_1(x)) · fc_2(x)), with fc_1 and fc_2 as one packed matrix. @param x [..., E] */
export function gatedMlp(ctx: ModelContext, x: Value, spec: Omit<GatedMlp, 'kind'>, name: string): Value {
  const { size, bias, activation } = spec;
  const { g } = ctx;
  const parts = ['fc_1', 'fc_2'].map((part) => ({ name: `${name}.${part}`, out: size }));
  const [gate, up] = split(g, linear(ctx, x, `${name}.fc_12`, parts, { bias }), -1, [size, size]);
  return linearOf(ctx, mul(g, unary(g, activation, gate), up), `${name}.proj`, ctx.config.nEmbd, { bias });
}
