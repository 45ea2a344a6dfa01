/**
 * @file How attention reads the slots of a cache, for each format that they may be stored in.
 *
 * Measured with ONNX Runtime 1.30 on two AVX2 cores, 4,000 slots, 8 groups of 4 heads of 64 dimensions, one query; ms a
 * layer (keys + values): float32 0.70 + 0.64; float16, cast first, 0.57 + 0.51 (no operator reads halves on x64); 8
 * bits, cast or dequantized first, 0.71 + 0.56; 8 bits as integers 0.44 + 0.27. So for single queries no float copy is
 * made of bytes. For chunks, whose work is arithmetic, the copy costs a hundredth of the rest, and integers would cost
 * accuracy.
 */
import { eighthOf, keyScales, type SlotBits, ZERO_POINT } from '../../../kvcache/buffers/planes.ts';
import { BUFFERS, type BufferChoice, buffersOf } from '../../../kvcache/buffers.ts';
import type { Dim } from '../../../ops/shapes.ts';
import type { OpNode, Value as OpValue } from '../../../ops/types.ts';
import type { GraphBuilder, Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerContext } from './context.ts';

/** The slots of one layer, as attention uses them. */
export interface CachedReader {
  /** C */
  readonly slots: Dim;
  /** q · keysᵀ. @param q [B, G, R, T, D], scaled. @returns [B, G, R, T, C] */
  scores(q: Value): Value;
  /** weights · values. @param weights [B, G, R, T, C]. @returns [B, G, R, T, Dv] */
  mix(weights: Value): Value;
  /** [B, G, 1, C, D] */
  keys(): Value;
  values(): Value;
}

type KeyReader = Pick<CachedReader, 'scores' | 'keys'>;
type ValueReader = Pick<CachedReader, 'mix' | 'values'>;

/** How the node's slots are read. */
export function cachedReader(ctx: LowerContext, node: OpNode<'attend'>): CachedReader {
  const kinds = buffersOf(node.attributes.buffer);
  const [keyBits, valueBits] = [BUFFERS[kinds.keys].bits, BUFFERS[kinds.values].bits];
  const slots = ctx.input(node.inputs[6]!, [2]).shape[3];
  const source = { q: node.inputs[0]!, k: node.inputs[1]!, cached: node.inputs[6]!, scales: node.inputs[8] };
  const keys = keyBits ? integerKeys(ctx, source, keyBits) : floatKeys(ctx, source);
  if (node.inputs[7] === node.inputs[6]) {
    // Long keys have several scales a slot, so values that are keys are read as floats.
    return { slots, ...keys, mix: (weights) => onnx.matmul(ctx.g, weights, keys.keys()), values: keys.keys };
  }
  if (ctx.isStatic) {
    // Chunks of all lengths take the same way, and products of whole numbers are for one query.
    const { values } = valueBits ? integerValues(ctx, node, valueBits) : floatValues(ctx, node);
    return {
      slots,
      scores: (q) => onnx.matmulTransposed(ctx.g, q, keys.keys()),
      keys: keys.keys,
      mix: (weights) => onnx.matmul(ctx.g, weights, values()),
      values,
    };
  }
  return {
    slots,
    ...keys,
    ...(valueBits ? integerValues(ctx, node, valueBits) : floatValues(ctx, node)),
  };
}

/** The keys of slots as floats [B, G, 1, C, D]. */
export function wideKeys(ctx: LowerContext, source: KeySource, buffer: BufferChoice): () => Value {
  const { bits } = BUFFERS[buffersOf(buffer).keys];
  return bits ? integerKeys(ctx, source, bits).keys : floatKeys(ctx, source).keys;
}

/**
 * The longest chunk for which slots and chunk are attended to apart: scores are put side by side then. Otherwise keys
 * and values are, as floats, which is cheaper for chunks: there are fewer of them. So floats are kept apart up to as
 * many tokens as a head has dimensions for each query head of a group, bytes for one token.
 */
export function longestApart(node: OpNode<'attend'>): number {
  const { keys, values } = buffersOf(node.attributes.buffer);
  const [, heads, , size] = node.inputs[0]!.shape as number[];
  return BUFFERS[keys].bits || BUFFERS[values].bits ? 1 : (size * (node.inputs[1]!.shape[1] as number)) / heads;
}

/** Where keys of slots are read from. */
interface KeySource {
  readonly q: OpValue;
  readonly k: OpValue;
  readonly cached: OpValue;
  readonly scales: OpValue | null;
}

function floatKeys(ctx: LowerContext, { cached }: KeySource): KeyReader {
  const k = ctx.input(cached, [2]);
  return { scores: (q) => onnx.matmulTransposed(ctx.g, q, wide(ctx, k)), keys: () => wide(ctx, k) };
}

function floatValues(ctx: LowerContext, node: OpNode<'attend'>): ValueReader {
  const v = ctx.input(node.inputs[7]!, [2]);
  return { mix: (weights) => onnx.matmul(ctx.g, weights, wide(ctx, v)), values: () => wide(ctx, v) };
}

const wide = ({ g }: LowerContext, x: Value): Value => (x.dtype === 'float32' ? x : onnx.cast(g, x, 'float32'));

/** Smaller than any number that matters, to divide by where all are 0. */
export const TINY = 1e-30;

function integerKeys(ctx: LowerContext, source: KeySource, bits: SlotBits): KeyReader {
  const { g } = ctx;
  const { max, mul, cast, reshape, transpose, reduceMax, matmulInteger } = onnx;
  const [, H, , D] = source.q.shape as number[];
  const G = source.k.shape[1] as number;
  const R = H / G;
  const S = keyScales(D);
  const W = D / S;
  const zero = ZERO_POINT[bits];
  const [k, kScale] = [ctx.input(source.cached, [2]), ctx.input(source.scales!, [2])];
  const slots = k.shape[3];
  const bytes = () => unpack(g, k, D, bits);

  /** One query: both sides as integers, part by part of the head. */
  const scores = (q: Value): Value => {
    const parts = transpose(g, reshape(g, q, [0, G, R, S, W], ['B', G, R, S, W]), [0, 1, 3, 2, 4]); // [B, G, S, R, W]
    const largest = reduceMax(g, onnx.abs(g, parts), -1);
    const step = onnx.div(g, max(g, largest, g.scalar(TINY)), g.scalar(127)); // [B, G, S, R, 1]
    const rounded = cast(g, onnx.add(g, onnx.round(g, onnx.div(g, parts, step)), g.scalar(128)), 'uint8');
    const columns = reshape(g, bytes(), [0, G, -1, S, W], ['B', G, slots, S, W]);
    const products = matmulInteger(g, rounded, transpose(g, columns, [0, 1, 3, 4, 2]), 128, zero); // [B, G, S, R, C]
    // [B, G, S, 1, C]
    const scale = transpose(g, reshape(g, kScale, [0, G, -1, S, 1], ['B', G, slots, S, 1]), [0, 1, 3, 4, 2]);
    const scaled = mul(g, mul(g, cast(g, products, 'float32'), step), scale);
    const sum = S === 1 ? scaled : onnx.reduceSum(g, scaled, 2); // [B, G, 1, R, C]
    return transpose(g, sum, [0, 1, 3, 2, 4]);
  };
  const keys = (): Value => {
    const floats = onnx.bytesToFloat(g, bytes(), zero);
    if (S === 1) return mul(g, floats, kScale);
    const parts = reshape(g, floats, [0, G, -1, S, W], ['B', G, slots, S, W]);
    const scaled = mul(g, parts, reshape(g, kScale, [0, G, -1, S, 1], ['B', G, slots, S, 1]));
    return reshape(g, scaled, [0, G, 1, -1, D], ['B', G, 1, slots, D]);
  };
  return { scores, keys };
}

function integerValues(ctx: LowerContext, node: OpNode<'attend'>, bits: SlotBits): ValueReader {
  const { g } = ctx;
  const { max, mul, cast, reshape, transpose, reduceMax, matmulInteger } = onnx;
  const [, H] = node.inputs[0]!.shape as number[];
  const G = node.inputs[1]!.shape[1] as number;
  const R = H / G;
  const zero = ZERO_POINT[bits];
  const [v, vScale] = [ctx.input(node.inputs[7]!, [2]), ctx.input(node.inputs[9]!, [2])];
  const slots = v.shape[3];
  const bytes = () => unpack(g, v, node.inputs[2]!.shape[3] as number, bits);

  /**
   * One query: weights in two bytes each, the second for what the first leaves, as small weights beside a large one
   * count. The values' scales are multiplied into them.
   */
  const mix = (weights: Value): Value => {
    const perSlot = transpose(g, vScale, [0, 1, 2, 4, 3]); // [B, G, 1, 1, C]
    const largest = max(g, reduceMax(g, perSlot, -1), g.scalar(TINY)); // [B, G, 1, 1, 1]
    const x = mul(g, weights, mul(g, perSlot, onnx.div(g, g.scalar(255), largest))); // [B, G, R, 1, C], below 256
    const high = cast(g, x, 'uint8');
    const rest = onnx.sub(g, x, cast(g, high, 'float32'));
    const low = cast(g, mul(g, rest, g.scalar(255)), 'uint8');
    const rows = onnx.concat(g, [high, low], 2); // [B, G, 2R, 1, C]
    const flat = reshape(g, rows, [0, G, 1, 2 * R, -1], ['B', G, 1, 2 * R, slots]);
    const products = cast(g, matmulInteger(g, flat, bytes(), 0, zero), 'float32'); // [B, G, 1, 2R, D]
    const [a, b] = onnx.split(g, products, 3, [R, R]);
    const sum = mul(g, onnx.add(g, a, mul(g, b, g.scalar(1 / 255))), mul(g, largest, g.scalar(1 / 255)));
    return transpose(g, sum, [0, 1, 3, 2, 4]);
  };
  return { mix, values: () => mul(g, onnx.bytesToFloat(g, bytes(), zero), vScale) };
}

/** Numbers in 8, 5 or 4 bits, as PlaneCodec packs them → one a byte [B, G, 1, C, D]. */
function unpack(g: GraphBuilder, x: Value, size: number, bits: SlotBits): Value {
  if (bits === 8) return x;
  if (bits === 4) return nibbles(g, x);
  const eighth = eighthOf(size);
  const [low, high] = onnx.split(g, x, -1, [size / 2, eighth]);
  const rest = nibbles(g, low);
  const G = x.shape[1] as number;
  const slots = x.shape[3];
  const columns = onnx.reshape(g, high, [0, G, -1, 1, eighth], ['B', G, slots, 1, eighth]);
  const offsets = g.constant(Uint8Array.of(0, 1, 2, 3, 4, 5, 6, 7), [8, 1]);
  const shifted = shift(g, columns, offsets, 'RIGHT', ['B', G, slots, 8, eighth]);
  const bit = g.node('BitwiseAnd', [shifted, onnx.byte(g, 1)], [shifted])[0];
  const fifth = shift(g, bit, onnx.byte(g, 4), 'LEFT');
  const all = onnx.reshape(g, fifth, [0, G, 1, -1, 8 * eighth], ['B', G, 1, slots, 8 * eighth]);
  const fifths = 8 * eighth === size ? all : onnx.split(g, all, -1, [size, 8 * eighth - size])[0];
  return g.node('BitwiseOr', [rest, fifths], [rest])[0];
}

function shift(g: GraphBuilder, x: Value, offsets: Value, direction: 'LEFT' | 'RIGHT', shape = x.shape): Value {
  return g.node('BitShift', [x, offsets], [{ dtype: x.dtype, shape }], { attributes: { direction } })[0];
}

/** Two numbers a byte [..., D/2] → one [..., D]. */
function nibbles(g: GraphBuilder, x: Value): Value {
  const low = g.node('BitwiseAnd', [x, onnx.byte(g, 15)], [x])[0];
  const high = shift(g, x, onnx.byte(g, 4), 'RIGHT');
  return onnx.concat(g, [low, high], -1);
}
