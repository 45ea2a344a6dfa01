/**
 * @file Feed-forward layers.
 */
import type { GatedMlp, MlpSpec, PlainMlp } from '../config/layer-spec.ts';
import { mul, split, unary } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import type { ModelContext } from './context.ts';
import { linear, linearOf } from './linear.ts';
import { mixtureOfExperts } from './moe.ts';

/** The MLP of a layer. @param x [B, T, E] */
export function mlp(ctx: ModelContext, x: Value, spec: MlpSpec, name: string): Value {
  if (spec.kind === 'moe') return mixtureOfExperts(ctx, x, spec, name);
  return spec.kind === 'plain' ? plainMlp(ctx, x, spec, name) : gatedMlp(ctx, x, spec, name);
}

/** proj(act(fc(x))) */
function plainMlp(ctx: ModelContext, x: Value, { size, bias, activation }: PlainMlp, name: string): Value {
  const hidden = unary(ctx.g, activation, linearOf(ctx, x, `${name}.fc`, size, { bias }));
  return linearOf(ctx, hidden, `${name}.proj`, ctx.config.nEmbd, { bias });
}

/** proj(act(fc_1(x)) · fc_2(x)), with fc_1 and fc_2 as one packed matrix. @param x [..., E] */
export function gatedMlp(ctx: ModelContext, x: Value, spec: Omit<GatedMlp, 'kind'>, name: string): Value {
  const { size, bias, activation } = spec;
  const { g } = ctx;
  const parts = ['fc_1', 'fc_2'].map((part) => ({ name: `${name}.${part}`, out: size }));
  const [gate, up] = split(g, linear(ctx, x, `${name}.fc_12`, parts, { bias }), -1, [size, size]);
  return linearOf(ctx, mul(g, unary(g, activation, gate), up), `${name}.proj`, ctx.config.nEmbd, { bias });
}
