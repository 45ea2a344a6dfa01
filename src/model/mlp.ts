/**
 * @file Feed-forward layers.
 */
import type { MlpSpec, PlainMlp } from '../config/layer-spec.ts';
import { unary } from '../ops/basic.ts';
import type { Value } from '../ops/types.ts';
import type { ModelContext } from './context.ts';
import { gatedMlp } from './gated-mlp.ts';
import { linearOf } from './linear.ts';
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
