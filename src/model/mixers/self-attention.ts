/**
 * @file Self-attention: projections, norms of queries and keys, rotation, attention to the slots of a cache and to the
 * chunk.
 */
import type { AttentionSpec, SelfAttention, SlotSpec } from '../../config/layer-spec.ts';
import type { QkNormSpec } from '../../config/norm-spec.ts';
import { type BufferChoice, type BufferKind, buffersOf } from '../../kvcache/buffers.ts';
import {
  attend,
  attendWithin,
  type CachedKV,
  echo,
  gatherSlots,
  keyProducts,
  queryMoments,
  type Rotation,
  rotate,
  scaleByPosition,
} from '../../ops/attention.ts';
import { add, clip, concat, mul, reshape, split, transpose, unary } from '../../ops/basic.ts';
import type { OpGraph } from '../../ops/graph.ts';
import type { Dim } from '../../ops/shapes.ts';
import { INPUT } from '../../ops/step-names.ts';
import type { MaskAttributes, ScoreAttributes, Value } from '../../ops/types.ts';
import { range } from '../../util/numbers.ts';
import { adaptAttention } from '../adapt.ts';
import { type ModelContext, plainParam } from '../context.ts';
import { linear, linearOf } from '../linear.ts';
import { bareNorm, norm } from '../norm.ts';
import { GroupOrder } from './group-order.ts';
import { rotateBack, rotatedHalves, rotateRows } from './slot-rotation.ts';
import type {
  AttentionInputs,
  AttentionOutputs,
  CachedTokens,
  EchoedChunk,
  ObservedInputs,
  ReducedOutput,
  WholeSequence,
} from './types.ts';

/** Of attention that no policy observes. */
export const UNOBSERVED: ObservedInputs = {
  queryWeights: null,
  sumStepOf: () => 0,
  maxima: null,
  momentWeights: null,
  momentsRotated: false,
  echo: null,
};

/** @param x [B, T, E], normalized. */
export function selfAttention(
  ctx: ModelContext,
  x: Value,
  layer: number,
  spec: SelfAttention,
  inputs: AttentionInputs,
): AttentionOutputs {
  const { heads: H, groups: G, keySize: D, valueSize: Dv } = spec;
  const name = `h.${layer}.attn`;
  const widths = [H * D, G * D, G * Dv];
  const names = spec.valuesAreKeys ? ['q', 'k'] : ['q', 'k', 'v'];
  const parts = names.map((part, i) => ({ name: `${name}.${part}`, out: widths[i] }));
  const packed = linear(ctx, x, `${name}.qkv`, parts, { bias: spec.bias.qkv });
  const heads = splitHeads(ctx, normAll(ctx, packed, spec, name), spec);
  const out = attendHeads(ctx, heads, layer, spec, inputs);
  const { g } = ctx;
  const gate = () => unary(g, 'sigmoid', linearOf(ctx, x, `${name}.gate`, H * Dv));
  const y = spec.gate ? mul(g, out.y, gate()) : out.y;
  return { ...out, y: linearOf(ctx, y, `${name}.proj`, ctx.config.nEmbd, { bias: spec.bias.proj }) };
}

/** Queries and keys together, group by group, and values. */
export interface Heads {
  /** [B, H + G, T, D] */
  readonly qk: Value;
  /** [B, G, T, Dv] */
  readonly v: Value;
}

/** @param packed [B, T, (H + G)·D + G·Dv] */
function splitHeads({ g }: ModelContext, packed: Value, spec: AttentionSpec): Heads {
  const { heads: H, groups: G, keySize: D, valueSize: Dv } = spec;
  if (spec.valuesAreKeys) {
    const qk = byHead(g, packed, H + G, D);
    return { qk, v: split(g, qk, 1, [H, G])[1] };
  }
  if (D === Dv) {
    const [qk, v] = split(g, byHead(g, packed, H + 2 * G, D), 1, [H + G, G]);
    return { qk, v };
  }
  const [qk, v] = split(g, packed, -1, [(H + G) * D, G * Dv]);
  return { qk: byHead(g, qk, H + G, D), v: byHead(g, v, G, Dv) };
}

/** [B, T, heads·size] → [B, heads, T, size] */
export function byHead(g: OpGraph, x: Value, heads: number, size: number): Value {
  const [B, T] = x.shape;
  return transpose(g, reshape(g, x, [0, 0, heads, size], [B, T, heads, size]), [0, 2, 1, 3]);
}

/**
 * What comes between the projections: norms, rotation, and attention itself.
 * @returns y [B, T, H·Dv], not projected yet.
 */
export function attendHeads(
  ctx: ModelContext,
  { qk: projected, v: projectedValues }: Heads,
  layer: number,
  spec: AttentionSpec,
  { source, rotation, observed }: AttentionInputs,
): AttentionOutputs {
  const { g, config } = ctx;
  const { heads: H, groups: G, scale, softcap } = spec;
  const name = `h.${layer}.attn`;
  const normed = (x: Value, when: QkNormSpec['place']): Value =>
    spec.qkNorm && spec.qkNorm.over !== 'full' && spec.qkNorm.place === when
      ? normHeads(ctx, x, spec, spec.qkNorm, name)
      : x;
  const plain = normed(projected, 'before-rope');
  const turned = (by: Rotation | null, positions: Value): readonly [Value, Value] => {
    const [q, k] = split(g, normed(by ? rotate(g, plain, by) : plain, 'after-rope'), 1, [H, G]);
    return [spec.temperature ? scaleByPosition(g, q, positions, spec.temperature) : q, k];
  };
  const values = spec.valueNorm ? norm(ctx, projectedValues, bareNorm(spec.valueNorm), '') : projectedValues;
  const v = rotation && spec.rotateValues ? rotate(g, values, rotation) : values;
  const [q, k] = turned(rotation, positionsOf(source));
  const { momentWeights, momentsRotated } = observed;
  const observedQ = () => (momentsRotated ? rotateRows(g, q) : split(g, plain, 1, [H, G])[0]);
  const moments = momentWeights && queryMoments(g, observedQ(), momentWeights, G);
  const echoed = observed.echo && turned(observed.echo.rotation, observed.echo.positions);
  const alibi = config.position === 'alibi' ? alibiSlopes(H, config.alibiScaled ? scale : 1) : null;
  const attributes = { scale, softcap, window: spec.window, chunk: spec.chunk, alibi };
  const sinks = spec.sinks ? () => plainParam(ctx, `${name}.sinks`, [H]) : null;
  const attended =
    'mask' in source
      ? {
          y: attendWithin(g, { q, k, v }, source, { ...attributes, causal: config.causal }),
          reduced: [],
        }
      : attendSlots(g, { q, k, v, echoed }, source, attributes, observed, sinks?.() ?? null);
  const y = adaptAttention(ctx, q, attended.y, name, { groups: G, scale, softcap });
  return { y, k, v, reduced: attended.reduced, moments };
}

/** Queries, keys and values of a chunk. */
export interface ChunkHeads {
  readonly q: Value;
  readonly k: Value;
  /** The keys where they are the values, too. */
  readonly v: Value;
  /** Queries and keys as {@link EchoedChunk} rotates them; null where no echo is wanted. */
  readonly echoed: readonly [Value, Value] | null;
}

/** Attention to the slots of a layer and to the chunk. */
export function attendSlots(
  g: OpGraph,
  { q, k, v, echoed }: ChunkHeads,
  source: CachedTokens,
  attributes: ScoreAttributes & MaskAttributes,
  { queryWeights: wantedSums, sumStepOf, maxima: wantedMaxima, echo: echoInputs }: ObservedInputs,
  sinks: Value | null,
): { readonly y: Value; readonly reduced: readonly ReducedOutput[] } {
  const { positions, buffer, sources } = source;
  const latent = v === k;
  const rotated = rotatedHalves(buffer);
  const asStored = (x: Value): Value => (rotated.keys ? rotateRows(g, x) : x);
  const [slotQ, slotK] = [asStored(q), asStored(k)];
  const rotatesValues = latent ? rotated.keys : rotated.values;
  const slotV = latent ? slotK : rotatesValues ? rotateRows(g, v) : v;
  const given = [slotQ, slotK, slotV, ...(echoed ?? [])];
  const groups = k.shape[1] as number;
  const order = new GroupOrder(
    g,
    sources.map((part) => part.groups ?? range(groups)),
  );
  const parts = order.split(given, attributes.alibi, sinks);
  const attended = sources.map(({ layerGroup, slots, logTokens, inputs: cached, keySums }, i) => {
    const { heads, alibi, sinks: own } = parts[i];
    const [partQ, partK, partV, echoedQ, echoedK] = heads;
    const sums = keySums && asStored(keySums());
    const along = sums && keyProducts(g, partK, sums, cached(), buffer);
    const inputs = { k: partK, positions, slots, logTokens, cached: cached(), sinks: own };
    const isReplayed = wantedMaxima?.replay.has(layerGroup) ?? false;
    const queryMask = wantedMaxima && (wantedMaxima.ofChunk || isReplayed) ? wantedMaxima.queryMask : null;
    const sumStep = sumStepOf(layerGroup);
    const queryWeights = sumStep > 0 ? wantedSums : null;
    const masksQueries = queryMask !== null && wantedMaxima!.replay.size > 0;
    const all = { ...attributes, alibi, buffer, layerGroup, sumStep, ...(masksQueries && { masksQueries }) };
    const { maxima: sets, ...rest } = attend(g, { ...inputs, q: partQ, v: partV, queryWeights, queryMask }, all);
    const seen = { ...rest, along };
    if (masksQueries && sets) {
      const [maxima, echoes] = wantedMaxima!.ofChunk ? split(g, sets, 2, [1, 1]) : [null, sets];
      return { ...seen, maxima, echoes: isReplayed ? echoes : null };
    }
    if (!echoedQ || !echoInputs?.isWanted(layerGroup)) return { ...seen, maxima: sets, echoes: null };
    const { positions: echoedPositions, mask } = echoInputs;
    const echoOfChunk = { ...all, isOfHeld: echoInputs.isOfHeld(layerGroup) };
    const rotatedEcho = [asStored(echoedQ), asStored(echoedK)] as const;
    const echoes = echo(g, { ...inputs, echoed: rotatedEcho, echoedPositions, mask }, echoOfChunk);
    return { ...seen, maxima: sets, echoes };
  });
  const y = order.join(
    attended.map((part) => part.y),
    2,
  );
  return {
    y: rotatesValues ? rotateBack(g, y, v.shape[3] as number) : y,
    reduced: attended.flatMap(({ sums, maxima, echoes, along }, i) => {
      const { layerGroup } = sources[i];
      const of = (kind: ReducedOutput['kind'], value: Value | null) => (value ? [{ kind, layerGroup, value }] : []);
      return [...of('sum', sums), ...of('max', maxima), ...of('echo', echoes), ...of('along', along)];
    }),
  };
}

/** [B, T] */
function positionsOf(source: CachedTokens | WholeSequence): Value {
  return 'mask' in source ? source.order : source.positions;
}

/** Clips and normalizes [B, T, (H + G)·D + G·Dv] as far as that happens before the heads are told apart. */
function normAll(ctx: ModelContext, packed: Value, spec: AttentionSpec, name: string): Value {
  const { g } = ctx;
  const { heads: H, groups: G, keySize: D, valueSize: Dv, qkNorm, clip: limits } = spec;
  const clipped = (x: Value) => (limits ? clip(g, x, -limits.limit, limits.limit) : x);
  let x = limits?.afterNorm ? packed : clipped(packed);
  if (qkNorm?.over === 'full') {
    const [q, k, v] = split(g, x, -1, [H * D, G * D, G * Dv]);
    x = concat(g, [norm(ctx, q, qkNorm, `${name}.norm_q`), norm(ctx, k, qkNorm, `${name}.norm_k`), v], -1);
  }
  return limits?.afterNorm ? clipped(x) : x;
}

/** Norms each head of [B, H + G, T, D]; the weights of queries and keys are one parameter, one row a head. */
export function normHeads(
  ctx: ModelContext,
  qk: Value,
  spec: Pick<AttentionSpec, 'heads' | 'groups' | 'keySize'>,
  qkNorm: QkNormSpec,
  name: string,
): Value {
  const { g } = ctx;
  const { heads: H, groups: G, keySize: D } = spec;
  const parts = (part: string, kind: 'weight' | 'bias', heads: number) =>
    range(heads).map((head) => ({
      name: `${name}.${part}${qkNorm.over === 'each-head' ? `.${head}` : ''}.${kind}`,
      rows: D,
      cols: 1,
      unitOffset: kind === 'weight' && qkNorm.unitOffset,
    }));
  const perHead = (kind: 'weight' | 'bias'): Value =>
    plainParam(
      ctx,
      `${name}.norm_qk.${kind}`,
      [H + G, 1, D],
      [...parts('norm_q', kind, H), ...parts('norm_k', kind, G)],
    );
  const bare = norm(ctx, qk, bareNorm(qkNorm), name);
  const scaled = qkNorm.affine ? mul(g, bare, perHead('weight')) : bare;
  return qkNorm.bias ? add(g, scaled, perHead('bias')) : scaled;
}

/**
 * Slopes of `heads` heads (ALiBi, arXiv 2108.12409), times `factor`: powers of one ratio, and between them where heads
 * are no power of two.
 */
function alibiSlopes(heads: number, factor = 1): Float32Array {
  const whole = 2 ** Math.floor(Math.log2(heads));
  const ratio = (n: number) => 2 ** -(2 ** -(Math.log2(n) - 3));
  const slopes = range(whole).map((i) => ratio(whole) ** (i + 1));
  for (let i = 1; slopes.length < heads; i += 2) slopes.push(ratio(2 * whole) ** i);
  return Float32Array.from(slopes, (slope) => Math.fround(slope) * factor);
}

/**
 * The slots of all groups of a layer behind each other, as its buffer stores them: the inputs `k.L` and `v.L`.
 * @param count of the slots.
 * @returns what gathers those of some groups.
 */
export function storedSlots(
  g: OpGraph,
  { keySize, valueSize }: Pick<SlotSpec, 'keySize' | 'valueSize'>,
  layer: number,
  buffer: BufferChoice,
  count: Dim,
): (index: Value) => CachedKV {
  const kinds = buffersOf(buffer);
  const stored = new Map<string, Value>();
  const half = (name: 'k' | 'v', kind: BufferKind, size: number, index: Value): Value => {
    const input = stored.get(name) ?? g.input(INPUT.held(name, `${layer}`), 'uint8', [count, `${name}.bytes`]);
    stored.set(name, input);
    return gatherSlots(g, input, index, kind, size);
  };
  return (index) => {
    const keys = half('k', kinds.keys, keySize, index);
    const values = valueSize === 0 ? keys : half('v', kinds.values, valueSize, index);
    return { keys, values, keyScales: null, valueScales: null };
  };
}

/**
 * The inputs `k.L`, `v.L` and their scales: the slots of one layer as its buffer stores them.
 * @param layer its number, or `L.I` for a part of its groups.
 */
export function slotInputs(
  g: OpGraph,
  spec: Pick<SlotSpec, 'groups' | 'keySize' | 'valueSize'>,
  layer: string,
  buffer: BufferChoice,
  slots: Dim,
): CachedKV {
  const { groups: G, keySize, valueSize } = spec;
  const kinds = buffersOf(buffer);
  const half = (name: string, kind: BufferKind, size: number): [Value, Value | null] => {
    if (kind === 'float32' || kind === 'float16')
      return [g.input(INPUT.held(name, layer), kind, ['B', G, slots, size]), null];
    const packed = g.input(INPUT.held(name, layer), 'uint8', ['B', G, slots, `${name}.bytes`]);
    if (g.target.slotBlocks) return [packed, null];
    return [packed, g.input(INPUT.held(`${name}.scale`, layer), 'float32', ['B', G, slots, `${name}.scales`])];
  };
  const [keys, keyScales] = half('k', kinds.keys, keySize);
  const [values, valueScales] = valueSize === 0 ? [keys, keyScales] : half('v', kinds.values, valueSize);
  return { keys, values, keyScales, valueScales };
}
