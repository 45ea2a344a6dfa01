/**
 * @file Attention by ggml's fused operator, whose weights are never in memory.
 *
 * Long chunks whose weights are not wanted take the fused operator: 30 layers of 9 heads, 512 tokens and 1,024 keys
 * took 817 ms of two cores of an EPYC with AVX-512 as products and softmax.
 */
import type { ScoreAttributes } from '../../../ops/types.ts';
import type { Tensor } from '../memory/tensor.ts';
import type { GraphMaker } from './graph-maker.ts';

/** Tokens of a chunk from which on the fused operator computes tiles of queries. */
const LONG = 64;

/**
 * Attention whose weights are never in memory.
 * @param k [B, G, S, D], each row without gaps; so v.
 * @param mask [B, 1, T, S]
 * @returns [B, T, H·D]
 */
export function fused(
  g: GraphMaker,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  mask: Tensor,
  { scale: factor, softcap: cap }: ScoreAttributes,
): Tensor {
  const [B, H, T] = q.dims;
  const D = v.dims[3];
  const half = g.half(mask);
  const attention = (queries: Tensor, hidden: Tensor) =>
    g.call('ggml_flash_attn_ext', queries.pointer, k.pointer, v.pointer, hidden.pointer, factor, 0, cap ?? 0);
  // The operator multiplies a third as fast as products of matrices in 4 bits do.
  const work = 3 * 2 * H * k.dims[2] * (q.dims[3] + D);
  const lengths = B === 1 ? g.pieces(T, work, 2 * LONG) : [T];
  if (lengths.length === 1) return g.reshape(g.made(attention(q, half), [B, T, H, D]), [B, T, H * D]);
  const tokens = (x: Tensor, start: number, length: number) => g.slice(x, 2, start, length);
  const whole = g.inPieces([T, H * D], lengths, (start, length) =>
    attention(tokens(q, start, length), tokens(half, start, length)),
  );
  return g.reshape(whole, [B, T, H * D]);
}

/** Whether groups have masks of their own: heads that have them are not taken for groups. */
const isByGroup = (q: Tensor, k: Tensor, mask: Tensor): boolean =>
  mask.dims[1] === k.dims[1] && k.dims[1] > 1 && q.dims[1] !== k.dims[1];

/**
 * Whether the fused operator computes tiles of these queries. It takes the mask in float16, which is exact where it
 * hides; logarithms of how many tokens a slot stands for lose a thousandth.
 */
export function canFuse(q: Tensor, k: Tensor, mask: Tensor, sinks: Tensor | null, alibi: Float32Array | null): boolean {
  return q.dims[2] >= LONG && !sinks && !alibi && (mask.dims[1] === 1 || isByGroup(q, k, mask));
}

/** What {@link canFuse} is true of. */
export function fusedLong(
  g: GraphMaker,
  heads: readonly [Tensor, Tensor, Tensor],
  mask: Tensor,
  attributes: ScoreAttributes,
): Tensor {
  return isByGroup(heads[0], heads[1], mask)
    ? fusedByGroup(g, heads, mask, attributes)
    : fused(g, heads, mask, attributes);
}

/** The same where each group has a mask of its own [B, G, T, S]: groups are rows of a batch. */
function fusedByGroup(
  g: GraphMaker,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  mask: Tensor,
  attributes: ScoreAttributes,
): Tensor {
  const [B, , T] = q.dims;
  const G = k.dims[1];
  const apart = (x: Tensor): Tensor => g.reshape(x, [B * G, x.dims[1] / G, ...x.dims.slice(2)]);
  const y = fused(g, [apart(q), apart(k), apart(v)], apart(mask), attributes); // [B·G, T, (H / G)·Dv]
  const width = y.dims[2];
  return g.reshape(g.transpose(g.reshape(y, [B, G, T, width]), [0, 2, 1, 3]), [B, T, G * width]);
}
