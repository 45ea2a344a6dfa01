/**
 * @file The MLP of a layer.
 */
import type { MlpSpec } from '../config/mlp-spec.ts';
import type { Value } from '../ops/types.ts';
import type { ModelContext } from './context.ts';
import { denseMlp } from './mlp.ts';
import { furtherParts } from './parts.ts';

/** @param x [B, T, E], normalized. @param stream [B, T, E], as it is before the norm. */
export function feedForward(ctx: ModelContext, x: Value, stream: () => Value, spec: MlpSpec, name: string): Value {
  return spec.kind === 'moe'
    ? furtherParts(ctx).mixtureOfExperts(ctx, x, stream, spec, name)
    : denseMlp(ctx, x, spec, name);
}
