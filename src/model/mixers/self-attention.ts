/**
 * @file Attention over the slots held and the chunk itself, with the weights summed over queries where asked.
 */

import { MICROSOFT, type Value } from '../../backends/onnx/builder.ts';
import {
  add,
  clip,
  concat,
  div,
  matmul,
  matmulTransposed,
  mul,
  reshape,
  reshapeTo,
  shapeOf,
  softmax,
  split,
  tanh,
  timesDim,
  transpose,
} from '../../backends/onnx/ops.ts';
import type { QkNormSpec } from '../../config/config.ts';
import { range } from '../../util/numbers.ts';
import { adaptAttention } from '../adapt.ts';
import type { AttentionBias, BiasApart } from '../bias.ts';
import type { ModelContext } from '../context.ts';
import type { HeldSlots } from '../held.ts';
import { linear } from '../linear.ts';
import { norm } from '../norm.ts';

/** The step's inputs that attention reads. */
export interface AttentionInputs {
  /** null: nothing is held, as in encoders. */
  readonly held: HeldSlots | null;
  readonly bias: AttentionBias;
  /** cos and sin [B·T, pairs], and which of their rows each token takes [B, T]; null: no rotation. */
  readonly rope: RopeInputs | null;
  readonly observed: Observed | null;
}

/** What a cache's policy wants to see of the attention. */
export interface Observed {
  /** For each sum, how much each query counts [B, 1, sets, R·T]; column r·T + t is query t of the group's head r. */
  readonly queryWeights: Value | null;
  /** First and second moments of the queries before they are rotated: how much each query counts [B, 1, 1, T]. */
  readonly momentWeights: Value | null;
}

export interface RopeInputs {
  readonly cos: Value;
  readonly sin: Value;
  readonly index: Value;
  readonly interleave: boolean;
}

export interface AttentionOutputs {
  /** [B, T, E] */
  readonly y: Value;
  /** The chunk's keys (normalised and rotated) and values [B, G, 1, T, D]. */
  readonly k: Value;
  readonly v: Value;
  /** [B, G, sets, C + T] */
  readonly sums: Value | null;
  /** Σ w·q [B, G, R, 1, D] and Σ w·q·qᵀ [B, G, R, D, D] */
  readonly moments: { readonly sum: Value; readonly outer: Value } | null;
}

/** Self attention. @param x [B, T, E], normalised. */
export function attention(ctx: ModelContext, x: Value, layer: number, inputs: AttentionInputs): AttentionOutputs {
  const { g, config } = ctx;
  const { nHead: H, nQueryGroups: G, headSize: D, nEmbd } = config;
  const name = `h.${layer}.attn`;
  const [B, T] = x.shape;
  const packed = queriesKeysValues(ctx, x, name); // [B, T, (H + 2G)·D]
  const heads = reshape(g, packed, [0, 0, H + 2 * G, D], [B, T, H + 2 * G, D]);
  const out = attendHeads(ctx, transpose(g, heads, [0, 2, 1, 3]), name, inputs);
  const bias = config.attnBias.proj[layer];
  return { ...out, y: linear(ctx, out.y, `${name}.proj`, [{ name: `${name}.proj`, out: nEmbd }], bias) };
}

/**
 * What comes between the projections: norms, rotation, and attention itself.
 * @param heads [B, H + 2G, T, D]: queries (group by group), keys, values.
 * @returns y [B, T, H·D], not projected yet.
 */
export function attendHeads(ctx: ModelContext, heads: Value, name: string, inputs: AttentionInputs): AttentionOutputs {
  const { g, config } = ctx;
  const { nHead: H, nQueryGroups: G, headSize: D, rotateValues } = config;
  const [B, , T] = heads.shape;
  let [qk, values] = split(g, heads, 1, [H + G, G]);
  if (config.normQk && config.normQk.over !== 'full') qk = normHeads(ctx, qk, config.normQk, name);
  const weights = inputs.observed?.momentWeights;
  const moments = weights ? queryMoments(ctx, split(g, qk, 1, [H, G])[0], weights) : null;
  if (inputs.rope) {
    qk = rotate(ctx, qk, inputs.rope);
    if (rotateValues) values = rotate(ctx, values, inputs.rope);
  }
  const [queries, keys] = split(g, qk, 1, [H, G]);
  const perGroup = (t: Value, heads: number) => reshape(g, t, [0, G, heads, -1, D], [B, G, heads, T, D]);
  const k = perGroup(keys, 1);
  const v = perGroup(values, 1);
  return { ...attend(ctx, perGroup(queries, H / G), k, v, inputs, name), k, v, moments };
}

/**
 * The queries' weighted sum and sum of outer products, head by head.
 * @param q [B, H, T, D]
 * @param weights [B, 1, 1, T]
 */
function queryMoments(ctx: ModelContext, q: Value, weights: Value): { sum: Value; outer: Value } {
  const { g, config } = ctx;
  const { nHead: H, nQueryGroups: G, headSize: D } = config;
  const [B, , T] = q.shape;
  const queries = reshape(g, q, [0, G, H / G, -1, D], [B, G, H / G, T, D]);
  const row = reshape(g, weights, [0, 1, 1, 1, -1], [B, 1, 1, 1, T]);
  const weighted = mul(g, queries, transpose(g, row, [0, 1, 2, 4, 3]));
  const outer = matmul(g, transpose(g, weighted, [0, 1, 2, 4, 3]), queries);
  return { sum: matmul(g, row, queries), outer };
}

/** [B, T, (H + 2G)·D], clipped and normalised as far as that happens before the heads are told apart. */
function queriesKeysValues(ctx: ModelContext, x: Value, name: string): Value {
  const { g, config } = ctx;
  const { nHead: H, nQueryGroups: G, headSize: D, clipQkv } = config;
  const widths = [H * D, G * D, G * D];
  const parts = ['q', 'k', 'v'].map((part, i) => ({ name: `${name}.${part}`, out: widths[i] }));
  const clipped = (t: Value) => (clipQkv === null ? t : clip(g, t, -clipQkv, clipQkv));
  let packed = linear(ctx, x, `${name}.qkv`, parts, config.attnBias.qkv);
  if (!config.clipQkvAfterNorm) packed = clipped(packed);
  if (config.normQk?.over === 'full') {
    const [q, k, v] = split(g, packed, -1, widths);
    packed = concat(
      g,
      [norm(ctx, q, config.normQk, `${name}.norm_q`), norm(ctx, k, config.normQk, `${name}.norm_k`), v],
      -1,
    );
  }
  return config.clipQkvAfterNorm ? clipped(packed) : packed;
}

/** Norms each head of [B, H + G, T, D]; the weights of queries and keys lie behind each other, one row a head. */
function normHeads(ctx: ModelContext, qk: Value, spec: QkNormSpec, name: string): Value {
  const { g, config } = ctx;
  const { nHead: H, nQueryGroups: G, headSize: D } = config;
  const parts = (part: string, kind: 'weight' | 'bias', heads: number) =>
    range(heads).map((head) => ({
      name: `${name}.${part}${spec.over === 'each-head' ? `.${head}` : ''}.${kind}`,
      rows: D,
      cols: 1,
      unitOffset: kind === 'weight' && spec.unitOffset,
    }));
  const perHead = (kind: 'weight' | 'bias'): Value =>
    ctx.plain(`${name}.norm_qk.${kind}`, [H + G, 1, D], [...parts('norm_q', kind, H), ...parts('norm_k', kind, G)]);
  const bare = norm(ctx, qk, { ...spec, affine: false, bias: false }, name);
  const scaled = spec.affine ? mul(g, bare, perHead('weight')) : bare;
  return spec.bias ? add(g, scaled, perHead('bias')) : scaled;
}

/** Rotates the first 2·pairs dimensions of each head; the rest passes through. @param x [B, heads, T, D] */
export function rotate(ctx: ModelContext, x: Value, rope: RopeInputs): Value {
  const pairs = rope.cos.shape[1] as number;
  const [heads, D] = [x.shape[1] as number, x.shape[3] as number];
  const attributes = {
    interleaved: rope.interleave ? 1 : 0,
    // Naming the width makes the operator insist on a number of heads; a whole head needs neither.
    ...(2 * pairs === D ? {} : { rotary_embedding_dim: 2 * pairs, num_heads: heads }),
  };
  return ctx.g.node('RotaryEmbedding', [x, rope.index, rope.cos, rope.sin], [x], { attributes, domain: MICROSOFT })[0];
}

/**
 * softmax(q·[keys, k]ᵀ + bias) · [values, v], head by head; a group's heads read the same keys and values, which are never
 * repeated for them.
 *
 * The scale is multiplied into the queries: without a factor the operator takes single queries to keys without packing them.
 * @param q [B, G, R, T, D]
 * @param k [B, G, 1, T, D], and v
 * @returns y [B, T, H·D]
 */
export function attend(
  ctx: ModelContext,
  q: Value,
  k: Value,
  v: Value,
  { held, bias, observed }: Pick<AttentionInputs, 'held' | 'bias' | 'observed'>,
  name = '',
): { y: Value; sums: Value | null } {
  const { g, config } = ctx;
  const { nHead: H, headSize: D, attentionScale, attentionLogitSoftcapping: cap } = config;
  const [B, G, R, T] = q.shape;
  const S = k.shape[3];
  const scaled = mul(g, q, g.scalar(attentionScale));
  const capped = (scores: Value): Value =>
    cap === null ? scores : mul(g, tanh(g, div(g, scores, g.scalar(cap))), g.scalar(cap));
  const biased = (scores: Value, added: Value): Value => add(g, capped(scores), added);
  /** What is wanted of the weights: the values, mixed by them, and, for those who watch, the weights. */
  const wanted = (mixed: Value, weights: Value): Value[] => (observed?.queryWeights ? [mixed, weights] : [mixed]);
  const whole = (keys: Value, values: Value): Value[] => {
    const weights = softmax(g, biased(matmulTransposed(g, scaled, keys), bias.joined()));
    return wanted(matmul(g, weights, values), weights);
  };
  const apart = (slots: HeldSlots, { held: before, chunk, lengths }: BiasApart): Value[] => {
    const onSlots = biased(slots.scores(scaled), before);
    const weights = softmax(g, concat(g, [onSlots, biased(matmulTransposed(g, scaled, k), chunk)], -1)); // [B, G, R, T, C + S]
    const [onHeld, onChunk] = split(g, weights, -1, [slots.slots, S], lengths);
    return wanted(add(g, slots.mix(onHeld), matmul(g, onChunk, v)), weights);
  };
  const [mixed, weights] = held
    ? g.branch(
        bias.apart!.chosen,
        () => apart(held, bias.apart!),
        () => whole(concat(g, [held.keys(), k], 3), concat(g, [held.values(), v], 3)),
      )
    : whole(k, v);
  const sum = adaptAttention(ctx, scaled, mixed, name);
  const y = reshape(g, transpose(g, sum, [0, 3, 1, 2, 4]), [0, 0, H * D], [B, T, H * D]);
  if (!observed?.queryWeights) return { y, sums: null };
  const flat = reshapeTo(
    g,
    weights,
    [g.ints(0, G as number, -1), shapeOf(g, weights, 4, 5)],
    [B, G, timesDim(R as number, T), weights.shape[4]],
  );
  return { y, sums: matmul(g, observed.queryWeights, flat) };
}
