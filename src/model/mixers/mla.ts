/**
 * @file Multi-head latent attention (arXiv 2405.04434). A token's keys and values are matrices times one latent vector
 * c, so the cache holds c and the rotated key that all heads share, and not the heads' keys and values. Queries are
 * taken to the space of c: q·(W_k c) = (W_kᵀ q)·c; and values leave it after attention: Σ p W_v c = W_v Σ p c.
 *
 * A cached key is [rotated key | c]; it is the value, too, of which the part of c is used.
 *
 * Parameters: `h.L.attn.q_down`, `.q_norm`, `.q_up`, or `.q`; `.kv_down` (rows [c | rotated key]), `.kv_norm`; `.k_up`
 * [heads · r, nope], the transposed matrices of keys; `.v_up` [heads · value, r]; `.proj`.
 */
import type { LatentAttention } from '../../config/layer-spec.ts';
import { queryMoments, type Rotation, rotate } from '../../ops/attention.ts';
import { concat, reshape, split, transpose } from '../../ops/basic.ts';
import { headLinear } from '../../ops/layers.ts';
import type { Value } from '../../ops/types.ts';
import { GraphError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import { type ModelContext, plainParam } from '../context.ts';
import { linearOf } from '../linear.ts';
import { norm } from '../norm.ts';
import { attendSlots, byHead } from './self-attention.ts';
import type { AttentionInputs, AttentionOutputs } from './types.ts';

/** @param x [B, T, E], normalized. */
export function latentAttention(
  ctx: ModelContext,
  x: Value,
  layer: number,
  spec: LatentAttention,
  { source, rotation, observed }: AttentionInputs,
): AttentionOutputs {
  const { g, config } = ctx;
  const { heads: H, latentSize: r, nopeSize, ropeSize, valueSize, bias } = spec;
  const name = `h.${layer}.attn`;
  if ('mask' in source) throw new GraphError('latent attention needs a cache');
  const [B, T] = x.shape;
  const [nope, rope] = split(g, queries(ctx, x, spec, name), 3, [nopeSize, ropeSize]);
  const down = linearOf(ctx, x, `${name}.kv_down`, r + ropeSize, { bias });
  const [latent, sharedKey] = split(g, down, -1, [r, ropeSize]);
  const c = byHead(g, norm(ctx, latent, spec.norm, `${name}.kv_norm`), 1, r);
  const key = concat(g, [byHead(g, sharedKey, 1, ropeSize), c], 3); // [B, 1, T, rope + r]
  const query = concat(g, [rope, headLinear(g, nope, headMatrices(ctx, `${name}.k_up`, H, r, nopeSize))], 3);
  const { momentWeights, momentsRotated } = observed;
  // As they attend to rotated keys they are wanted to round keys by, which are no values at the same time.
  const moments = momentWeights && !momentsRotated ? queryMoments(g, query, momentWeights, 1) : null;
  const both = concat(g, [query, key], 1);
  const turned = (by: Rotation | null): readonly [Value, Value] => {
    const [q, k] = split(g, by ? rotate(g, both, by) : both, 1, [H, 1]);
    return [q, k];
  };
  const [q, k] = turned(rotation);
  const echoed = observed.echo && turned(observed.echo.rotation);
  const mask = { window: null, chunk: null, alibi: null };
  const attributes = { scale: spec.scale, softcap: null, ...mask };
  const { y, reduced } = attendSlots(g, { q, k, v: k, echoed }, source, attributes, observed, null);
  const width = ropeSize + r;
  const mixed = split(g, reshape(g, y, [0, 0, H, width], [B, T, H, width]), 3, [ropeSize, r])[1];
  const values = headLinear(g, transpose(g, mixed, [0, 2, 1, 3]), headMatrices(ctx, `${name}.v_up`, H, valueSize, r));
  const flat = reshape(g, transpose(g, values, [0, 2, 1, 3]), [0, 0, H * valueSize], [B, T, H * valueSize]);
  return { y: linearOf(ctx, flat, `${name}.proj`, config.nEmbd, { bias }), k, v: null, reduced, moments };
}

/** [B, H, T, nope + rope] */
function queries(ctx: ModelContext, x: Value, spec: LatentAttention, name: string): Value {
  const { heads: H, queryRank, nopeSize, ropeSize, bias } = spec;
  const width = H * (nopeSize + ropeSize);
  if (queryRank === null) return byHead(ctx.g, linearOf(ctx, x, `${name}.q`, width), H, nopeSize + ropeSize);
  const rank = norm(ctx, linearOf(ctx, x, `${name}.q_down`, queryRank, { bias }), spec.norm, `${name}.q_norm`);
  return byHead(ctx.g, linearOf(ctx, rank, `${name}.q_up`, width), H, nopeSize + ropeSize);
}

/** A matrix for each head: [heads, out, in]. */
function headMatrices(ctx: ModelContext, name: string, heads: number, out: number, inner: number): Value {
  const parts = range(heads).map((head) => ({ name: `${name}.${head}.weight`, rows: out, cols: inner }));
  return plainParam(ctx, `${name}.weight`, [heads, out, inner], parts);
}
