/**
 * @file Attention to the keys and values of an earlier layer (Gemma 3n, Gemma 4). Parameters: `h.L.attn.q`, `.norm_q`,
 * `.proj`.
 */
import type { SharedAttention } from '../../config/layer-spec.ts';
import { rotate } from '../../ops/attention.ts';
import type { Value } from '../../ops/types.ts';
import { GraphError } from '../../util/errors.ts';
import type { ModelContext } from '../context.ts';
import { linear, linearOf } from '../linear.ts';
import { attendSlots, byHead, normHeads, UNOBSERVED } from './self-attention.ts';
import type { AttentionInputs, SharedKV } from './types.ts';

/**
 * Policies do not observe these queries: the weights that they sum are those of the layer that holds the slots.
 * @param x [B, T, E], normalized.
 */
export function sharedAttention(
  ctx: ModelContext,
  x: Value,
  layer: number,
  spec: SharedAttention,
  { rotation, source, k, v }: SharedKV & Pick<AttentionInputs, 'rotation'>,
): { readonly y: Value } {
  const { g } = ctx;
  const { heads: H, keySize: D, scale, softcap, window, chunk, qkNorm, bias } = spec;
  const name = `h.${layer}.attn`;
  if (qkNorm && (qkNorm.over === 'full' || qkNorm.place !== 'before-rope'))
    throw new GraphError(`${name}: shared keys and values go with a norm of each head's queries before the rotation`);
  const projected = linear(ctx, x, `${name}.qkv`, [{ name: `${name}.q`, out: H * D }], { bias: bias.qkv });
  let q = byHead(g, projected, H, D);
  if (qkNorm) q = normHeads(ctx, q, { ...spec, groups: 0 }, qkNorm, name);
  if (rotation) q = rotate(g, q, rotation);
  const mask = { window, chunk, alibi: null };
  // The products of the keys are those of the layer that holds the slots, too.
  const unobserved = { ...source, sources: source.sources.map((part) => ({ ...part, keySums: null })) };
  const { y } = attendSlots(g, { q, k, v, echoed: null }, unobserved, { scale, softcap, ...mask }, UNOBSERVED, null);
  return { y: linearOf(ctx, y, `${name}.proj`, ctx.config.nEmbd, { bias: bias.proj }) };
}
