/**
 * @file Attention and Mamba-2 side by side (Falcon-H1, arXiv 2507.22448). Parameters: those of both, `h.L.attn` and
 * `h.L.ssm`.
 */
import type { AttentionMamba2 } from '../../config/layer-spec.ts';
import { add, scale } from '../../ops/basic.ts';
import type { Value } from '../../ops/types.ts';
import type { ModelContext } from '../context.ts';
import { mamba2 } from './mamba2.ts';
import { selfAttention } from './self-attention.ts';
import type { StateOutputs } from './states.ts';
import type { AttentionInputs, AttentionOutputs, StateInputs } from './types.ts';

/** @param x [B, T, E], normalized. */
export function attentionMamba2(
  ctx: ModelContext,
  x: Value,
  layer: number,
  { attention, ssm, scales }: AttentionMamba2,
  inputs: { readonly attention: AttentionInputs; readonly states: StateInputs },
): AttentionOutputs & StateOutputs {
  const { g } = ctx;
  const attended = selfAttention(ctx, x, layer, attention, inputs.attention);
  const scanned = mamba2(ctx, x, layer, ssm, inputs.states);
  const y = add(g, scale(g, attended.y, scales.attention), scale(g, scanned.y, scales.ssm));
  return { ...attended, y, next: scanned.next };
}
