/**
 * @file Attention. A token's keys and values lie in slots of the cache and in the chunk itself.
 *
 * Measured at 4,000 slots, 8 groups of 4 heads of 64, one token, two threads of an AVX-512 processor, ms a layer: two
 * products and a softmax with float32 values as they lie (`ggml_out_prod`) 1.7, with values stored transposed 1.5, with
 * values transposed on the way 4.7; the fused operator 1.5, and 2.5 where the weights are wanted besides. So few
 * queries take the values as they lie, and many, for which arithmetic counts, a transposed copy.
 */
import type { ScoreAttributes } from '../../../ops/types.ts';
import type { Tensor } from '../memory/tensor.ts';
import { binary, clip, scale, softcap, unary } from './elementwise.ts';
import { canFuse, fused, fusedLong } from './fused-attention.ts';
import { type GraphMaker, isDense } from './graph-maker.ts';

/** Queries of a group up to which values are read as they lie, and slots and chunk are attended to apart. */
const FEW = 16;

/**
 * Slots of float32 up to which two products and a softmax are faster than the fused operator for few queries. 30 layers
 * of 3 groups of 3 heads of 64, as part of a whole step on two threads: 0.4 ms less at 64 slots, 0.4 ms more at 320.
 */
const SHORT = 128;
/** The shortest key that has a direction. */
const TINY = 1e-30;
/** The largest float16. */
const LARGEST_HALF = 65504;

/** Keys and values of the slots; null: there are none. */
export interface CachedSlots {
  /** [B, G, C, D] */
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** Slots that hold the chunk, too. */
export interface JoinedSlots {
  /** [B, G, C, D] */
  readonly slots: CachedSlots;
  /** Where the chunk's tokens go [B, 1, T]. */
  readonly index: Tensor;
  /** [B, 1, T, S] */
  readonly mask: Tensor;
}

/** Queries [B, H, T, D] as one matrix for each group [B, G, R·T, D]. */
export function perGroup(g: GraphMaker, q: Tensor, groups: number): Tensor {
  const [B, H, T, D] = q.dims;
  return g.reshape(q, [B, groups, (H / groups) * T, D]);
}

/** Softmax of scores [B, G, R·T, S] with a mask [B, 1, G or H, T, S]. */
export function weigh(
  g: GraphMaker,
  scores: Tensor,
  mask: Tensor,
  [H, T]: readonly [number, number],
  { scale: factor, softcap: cap }: ScoreAttributes,
  sinks: Tensor | null = null,
): Tensor {
  const [B, G, , S] = scores.dims;
  const capped = cap === null ? scores : softcap(g, scale(g, scores, factor), cap);
  // ggml takes mask i % n for head i: a mask for each group is only right where groups are an axis of their own.
  const byGroup = mask.dims[1] === G && G > 1 && H !== G;
  // Sinks are told apart by head: then heads are an axis of their own, and the mask is repeated for the heads of a
  // group.
  const shape = byGroup && !sinks ? [B * G, H / G, T, S] : [B, H, T, S];
  const perHead = () => g.reshape(g.repeat(g.reshape(mask, [B * G, 1, T * S]), [B * G, H / G, T * S]), [B, H, T, S]);
  const shapedMask = !byGroup ? mask : sinks ? perHead() : g.reshape(mask, [B * G, 1, T, S]);
  const seen = g.reshape(capped, shape);
  const weights = g.call('ggml_soft_max_ext', seen.pointer, g.dense(shapedMask).pointer, cap === null ? factor : 1, 0);
  if (sinks) g.ggml.ggml_soft_max_add_sinks(weights, sinks.pointer);
  return g.reshape(g.made(weights, shape), scores.dims);
}

/** weights [B, G, n, S] · values [B, G, S, D] → [B, G, n, D] */
function mix(g: GraphMaker, weights: Tensor, values: Tensor): Tensor {
  if (weights.dims[2] > FEW) return g.multiply(g.dense(g.transpose(values, [0, 1, 3, 2])), weights);
  return g.outer(values, g.transpose(weights, [0, 1, 3, 2]));
}

/** [B, G, R·T, D] → [B, T, H·D] */
function toTokens(g: GraphMaker, mixed: Tensor, [H, T]: readonly [number, number]): Tensor {
  const [B, , , D] = mixed.dims;
  return g.reshape(g.transpose(g.reshape(mixed, [B, H, T, D]), [0, 2, 1, 3]), [B, T, H * D]);
}

/** float32 of what slots hold in other formats. */
function widened(g: GraphMaker, x: Tensor): Tensor {
  if (x.type === 'f32') return x;
  return g.made(g.call('ggml_cast', x.pointer, 0), x.dims);
}

/** Rows of slots and of the chunk behind them; echoes look at the same keys. @param slots [B, G, C, D] */
export function withSlots(g: GraphMaker, slots: Tensor, rows: Tensor): Tensor {
  return g.once(`${slots.pointer} and ${rows.pointer}`, () => g.concat([widened(g, slots), rows], 2));
}

/** How attention weights are reduced over queries. */
export interface WantedWeights {
  /** [B, sets, R·T]; null: there is no output for sums. */
  readonly queryWeights: Tensor | null;
  /** null: maxima are not wanted. */
  readonly maxima: WantedMaxima | null;
}

/**
 * Of each query by itself; or a set for each list of queries, int32 [B, G, n], in which others stand for those that do
 * not count; null: all count.
 */
export type WantedMaxima = 'each' | readonly (Tensor | null)[];

/**
 * Attention to slots and chunk.
 * @param q [B, H, T, D] @param k [B, G, T, D] @param mask [B, 1 or G or H, T, C + T] @param sinks [H] or null
 */
export function attend(
  g: GraphMaker,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  cached: CachedSlots | null,
  mask: Tensor,
  wanted: WantedWeights,
  sinks: Tensor | null,
  attributes: ScoreAttributes & { readonly alibi: Float32Array | null; readonly sumStep?: number },
): Tensor[] {
  const [, H, T] = q.dims;
  const queries = perGroup(g, q, k.dims[1]);
  const sizes = [H, T] as const;
  const C = cached?.keys.dims[2] ?? 0;
  const isApart = cached !== null && queries.dims[2] <= FEW;
  const joined = () => ({
    keys: cached ? withSlots(g, cached.keys, k) : k,
    values: cached ? withSlots(g, cached.values, v) : v,
  });
  const { sumStep = 1, alibi } = attributes;
  const isSampled = hasSums(wanted) && wanted.maxima === null && sumStep > 1;
  if ((isSampled || !isWanted(wanted)) && canFuse(q, k, mask, sinks, alibi)) {
    const { keys, values } = joined();
    const y = fusedLong(g, [q, g.dense(keys), g.dense(values)], mask, attributes);
    if (isSampled) return [y, sampledSums(g, [q, keys], mask, wanted.queryWeights!, { ...attributes, sumStep })];
    return [y, ...unreadSums(g, wanted, queries.dims, mask)];
  }
  let weights: Tensor;
  let mixed: Tensor;
  if (cached && isApart) {
    const scores = g.concat([g.multiply(cached.keys, queries), g.multiply(k, queries)], 3);
    weights = weigh(g, scores, mask, sizes, attributes, sinks);
    const onSlots = mix(g, g.slice(weights, 3, 0, C), widened(g, cached.values));
    const onChunk = mix(g, g.slice(weights, 3, C, T), v);
    mixed = g.made(g.call('ggml_add', onSlots.pointer, onChunk.pointer), onSlots.dims);
  } else {
    const { keys, values } = joined();
    weights = weigh(g, g.multiply(keys, queries), mask, sizes, attributes, sinks);
    mixed = mix(g, weights, values);
  }
  const y = toTokens(g, mixed, sizes);
  return [y, ...reducedWeights(g, weights, wanted, sizes)];
}

/**
 * Attention to slots that the chunk's keys and values are written to first. Weights are of these slots [.., S].
 * @param sinks [H] or null
 */
export function attendJoined(
  g: GraphMaker,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  { slots, index, mask }: JoinedSlots,
  wanted: WantedWeights,
  sinks: Tensor | null,
  attributes: ScoreAttributes,
): Tensor[] {
  const [, H, T] = q.dims;
  const S = mask.dims[3];
  const keys = written(g, slots.keys, k, index, S);
  const values = written(g, slots.values, v, index, S);
  const queries = perGroup(g, q, k.dims[1]);
  const isShort = queries.dims[2] <= FEW && S <= SHORT && keys.type === 'f32' && values.type === 'f32';
  if (!sinks && !isShort && keys.type === values.type && !isWanted(wanted))
    return [fused(g, [q, keys, values], mask, attributes), ...unreadSums(g, wanted, queries.dims, mask)];
  // One query of each head by itself: ggml's product of a group's three with 1,088 keys took 2.2 ms in 30 layers, of
  // one 1.9.
  const apart = T === 1 ? q : queries;
  const weights = weigh(g, g.multiply(keys, apart), mask, [H, T], attributes, sinks);
  const y = toTokens(g, mix(g, weights, widened(g, values)), [H, T]);
  const grouped = g.reshape(weights, [...queries.dims.slice(0, 3), weights.dims[3]]);
  return [y, ...reducedWeights(g, grouped, wanted, [H, T])];
}

/** Writes rows [B, G, T, D] to slots [B, G, C, D]. @returns the first S slots afterwards. */
function written(g: GraphMaker, slots: Tensor, rows: Tensor, index: Tensor, S: number): Tensor {
  // What a half can't hold would turn infinite.
  const source = slots.type === 'f16' ? clip(g, rows, { low: -LARGEST_HALF, high: LARGEST_HALF }) : rows;
  const pointer = g.call('ggml_set_rows', slots.pointer, source.pointer, index.pointer);
  // The last layer's are wanted in the slots even where no logits are.
  g.ggml.ggml_build_forward_expand(g.graph, pointer);
  return g.slice({ ...slots, pointer }, 2, 0, S);
}

/** A step may want no sums though its graph gives them. */
const hasSums = ({ queryWeights }: WantedWeights): boolean => queryWeights !== null && queryWeights.dims[1] > 0;

const isWanted = (wanted: WantedWeights): boolean => hasSums(wanted) || wanted.maxima !== null;

/** The output for sums, where there is one, of a step that wants none [B, G, 0, S]. @param mask [.., S] */
function unreadSums(g: GraphMaker, { queryWeights }: WantedWeights, [B, G]: readonly number[], mask: Tensor): Tensor[] {
  return queryWeights ? [g.derive([B, G, 0, mask.dims[3]], () => {})] : [];
}

/** Sums and maxima, as far as they are wanted. @param weights [B, G, R·T, S] */
function reducedWeights(
  g: GraphMaker,
  weights: Tensor,
  wanted: WantedWeights,
  sizes: readonly [number, number],
): Tensor[] {
  const { queryWeights, maxima } = wanted;
  const sums = hasSums(wanted) ? [sumsOf(g, weights, queryWeights!)] : unreadSums(g, wanted, weights.dims, weights);
  return maxima ? [...sums, maximaOf(g, weights, maxima, sizes)] : sums;
}

/** Σ over queries. @param weights [B, G, n, S] @param queryWeights [B, sets, n] → [B, G, sets, S] */
function sumsOf(g: GraphMaker, weights: Tensor, queryWeights: Tensor): Tensor {
  const [B, G, n] = weights.dims;
  const sets = queryWeights.dims[1];
  const each = g.once(`repeated ${queryWeights.pointer} ${G}`, () =>
    g.repeat(g.reshape(queryWeights, [B, 1, sets, n]), [B, G, sets, n]),
  );
  return g.outer(weights, g.transpose(each, [0, 1, 3, 2]));
}

/** Every `step`-th row, from the first on, without gaps. @param x [a, b, n, c] */
function everyRow(g: GraphMaker, step: number, x: Tensor): Tensor {
  const [a, b, n, c] = x.dims;
  const strides = x.strides.map((stride, i) => (i === 1 ? stride * step : stride));
  return g.dense(g.view(x, [a, b, Math.ceil(n / step), c], strides, 0));
}

/**
 * Sums over every `sumStep`-th query, whose weights are computed for them: few, where the fused operator gives none.
 * @param keys [B, G, S, D] @param queryWeights [B, sets, R·T] → [B, G, sets, S]
 */
function sampledSums(
  g: GraphMaker,
  [q, keys]: readonly [Tensor, Tensor],
  mask: Tensor,
  queryWeights: Tensor,
  { sumStep, ...attributes }: ScoreAttributes & { readonly sumStep: number },
): Tensor {
  const [B, H, T] = q.dims;
  const [, G] = keys.dims;
  const sets = queryWeights.dims[1];
  const few = everyRow(g, sumStep, q);
  const n = few.dims[2];
  // Layers share masks and the weights of queries.
  const seen = g.once(`every ${sumStep} of ${mask.pointer}`, () => everyRow(g, sumStep, mask));
  const sampled = g.once(`every ${sumStep} of ${queryWeights.pointer}`, () => {
    const byQuery = g.reshape(queryWeights, [B, sets * (H / G), T, 1]);
    return g.reshape(everyRow(g, sumStep, byQuery), [B, sets, (H / G) * n]);
  });
  return sumsOf(g, weigh(g, g.multiply(keys, perGroup(g, few, G)), seen, [H, n], attributes), sampled);
}

/** Maxima over queries. @param weights [B, G, R·T, S] → [B, G, sets, S] */
export function maximaOf(
  g: GraphMaker,
  weights: Tensor,
  wanted: WantedMaxima,
  [H, T]: readonly [number, number],
): Tensor {
  const [B, G, n, S] = weights.dims;
  if (wanted === 'each') return g.reshape(largest(g, g.reshape(weights, [B * G, H / G, T, S])), [B, G, T, S]);
  const ofSet = (counted: Tensor | null): Tensor => {
    const taken = counted ? g.made(g.call('ggml_get_rows', weights.pointer, counted.pointer), weights.dims) : weights;
    return g.reshape(largest(g, g.reshape(taken, [B * G, n, 1, S])), [B, G, 1, S]);
  };
  return g.concat(wanted.map(ofSet), 2);
}

/** The maximum over the second axis: of both halves, until one row is left. @param x [P, n, T, S] → [P, 1, T, S] */
export function largest(g: GraphMaker, x: Tensor): Tensor {
  let rows = x;
  for (let n = x.dims[1]; n > 1; n = rows.dims[1]) {
    // An odd row is in both halves.
    const half = Math.ceil(n / 2);
    const [a, b] = [g.slice(rows, 1, 0, half), g.slice(rows, 1, n - half, half)];
    rows = binary(g, 'add', a, unary(g, 'relu', binary(g, 'sub', b, a)));
  }
  return rows;
}

/** Attention to keys and values that are all there. @param mask [B, 1 or H, T, S] */
export function attendTo(
  g: GraphMaker,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  mask: Tensor,
  attributes: ScoreAttributes,
): Tensor {
  const [, H, T] = q.dims;
  const queries = perGroup(g, q, k.dims[1]);
  const weights = weigh(g, g.multiply(isDense(k) ? k : g.dense(k), queries), mask, [H, T], attributes);
  return toTokens(g, mix(g, weights, v), [H, T]);
}

/**
 * The products of keys with the sum of their directions [B, G, C + T].
 * @param k [B, G, T, D] @param sums [B, G, 1, D] @param slots [B, G, C, D]; null: there are none.
 */
export function keyProducts(g: GraphMaker, k: Tensor, sums: Tensor, slots: Tensor | null): Tensor {
  const [B, G, T] = k.dims;
  const keys = g.dense(k);
  const directions = g.same(keys, 'ggml_l2_norm', keys.pointer, TINY);
  const own = T === 1 ? directions : g.reshape(g.sumLast(g.transpose(directions, [0, 1, 3, 2])), sums.dims);
  const all = binary(g, 'add', sums, own);
  const products = [...(slots ? [g.multiply(widened(g, slots), all)] : []), g.multiply(keys, all)];
  const joined = g.concat(products, 3); // [B, G, 1, C + T]
  return g.reshape(joined, [B, G, joined.dims[3]]);
}

/**
 * Sums of queries, and of their outer products, weighted. Of one token there are no outer products.
 * @param q [B, H, T, D] @param weights [B, T]
 */
export function queryMoments(g: GraphMaker, q: Tensor, weights: Tensor): Tensor[] {
  const [B, H, T, D] = q.dims;
  const each = g.repeat(g.reshape(weights, [B, 1, T, 1]), [B, H, T, 1]);
  const dense = g.dense(q);
  const sum = g.outer(dense, each); // [B, H, 1, D]
  if (T === 1) return [g.reshape(sum, [B, H, D]), g.derive([B, H, 0, D], () => {})];
  const weighted = g.made(g.call('ggml_mul', dense.pointer, each.pointer), q.dims);
  return [g.reshape(sum, [B, H, D]), g.outer(dense, weighted)];
}

/**
 * Attention to prefixes, each with a softmax of its own, times the head's gate.
 * @param keys [b, G, n·P, D] @param gate [b, H, n] @param hidden [b, n, P]
 */
export function prefixAttend(
  g: GraphMaker,
  q: Tensor,
  [keys, values, gate, hidden]: readonly [Tensor, Tensor, Tensor, Tensor],
  { scale: factor, softcap: cap }: ScoreAttributes,
): Tensor {
  const [B, H, T, D] = q.dims;
  const [b, G, all] = keys.dims;
  const [, n, P] = hidden.dims;
  const R = H / G;
  const whole = (x: Tensor): Tensor => (b === B ? x : g.repeat(x, [B, ...x.dims.slice(1)]));
  const scores = scale(g, g.multiply(whole(keys), g.reshape(q, [B, G, R * T, D])), factor);
  const capped = cap === null ? scores : softcap(g, scores, cap);
  const rows = g.reshape(capped, [B, H * T, n, P]);
  const masked = g.made(g.call('ggml_add', rows.pointer, whole(g.reshape(hidden, [b, 1, n, P])).pointer), rows.dims);
  const weights = g.made(g.call('ggml_soft_max_ext', masked.pointer, null, 1, 0), rows.dims);
  const gates = g.repeat(g.reshape(whole(gate), [B, H, n, 1]), [B, H, n, P]);
  const counted = g.call(
    'ggml_mul',
    g.reshape(weights, [B, H, T, all]).pointer,
    g.reshape(gates, [B, H, 1, all]).pointer,
  );
  return toTokens(g, mix(g, g.reshape(g.made(counted, [B, H, T, all]), [B, G, R * T, all]), whole(values)), [H, T]);
}
