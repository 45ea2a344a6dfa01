/**
 * @file How the graph attends to the slots held, for each format that they may be stored in.
 *
 * Measured with ONNX Runtime 1.30 on two AVX2 cores, 4,000 slots, 8 groups of 4 heads of 64 dimensions, one query; ms a layer
 * (keys + values): float32 0.70 + 0.64; float16, cast first, 0.57 + 0.51 (no operator reads halves on x64); 8 bits, cast or
 * dequantised first, 0.71 + 0.56; 8 bits as whole numbers 0.44 + 0.27. So for single queries no float copy is made of bytes.
 * For chunks, whose work is arithmetic, the copy costs a hundredth of the rest, and whole numbers would cost accuracy.
 */
import type { Dim, Value } from '../backends/onnx/builder.ts';
import {
  abs,
  add,
  byte,
  bytesToFloat,
  cast,
  concat,
  div,
  matmul,
  matmulInteger,
  matmulTransposed,
  max,
  mul,
  reduceMax,
  reduceSum,
  reshape,
  round,
  split,
  sub,
  transpose,
} from '../backends/onnx/ops.ts';
import { keyScales, type SlotBits, ZERO_POINT } from '../kvcache/buffers/quantised.ts';
import type { BufferKind } from '../kvcache/buffers.ts';
import type { ModelContext } from './context.ts';

/** The slots of one layer, as attention uses them. */
export interface HeldSlots {
  /** C */
  readonly slots: Dim;
  /** q · keysᵀ. @param q [B, G, R, T, D], scaled. @returns [B, G, R, T, C] */
  scores(q: Value): Value;
  /** weights · values. @param weights [B, G, R, T, C]. @returns [B, G, R, T, D] */
  mix(weights: Value): Value;
  /** [B, G, 1, C, D] */
  keys(): Value;
  values(): Value;
}

/**
 * Whether slots and chunk are to be attended to apart, a bool without axes: scores are put side by side then. Otherwise keys and
 * values are, as floats, which is cheaper for chunks: there are fewer of them. So floats are kept apart up to as many tokens as a head
 * has dimensions for each query head, bytes for one token.
 */
export function attendsApart(ctx: ModelContext, buffer: BufferKind): Value {
  const { headSize, nQueryGroups, nHead } = ctx.config;
  return ctx.atMost(buffer === 'int8' || buffer === 'int4' ? 1 : (headSize * nQueryGroups) / nHead);
}

type Reader = (ctx: ModelContext, layer: number, slots: Dim) => HeldSlots;

/** Declares the layer's inputs, and says how they are read. */
export const HELD_READERS: Readonly<Record<BufferKind, Reader>> = {
  float32: (ctx, layer, slots) => floats(ctx, layer, slots, 'float32'),
  float16: (ctx, layer, slots) => floats(ctx, layer, slots, 'float16'),
  int8: (ctx, layer, slots) => wholeNumbers(ctx, layer, slots, 8),
  int4: (ctx, layer, slots) => wholeNumbers(ctx, layer, slots, 4),
};

function floats(ctx: ModelContext, layer: number, slots: Dim, dtype: 'float32' | 'float16'): HeldSlots {
  const { g, config } = ctx;
  const shape = ['B', config.nQueryGroups, 1, slots, config.headSize];
  const k = g.input(`k.${layer}`, dtype, shape);
  const v = g.input(`v.${layer}`, dtype, shape);
  const wide = (x: Value) => (dtype === 'float32' ? x : cast(g, x, 'float32'));
  return {
    slots,
    scores: (q) => matmulTransposed(g, q, wide(k)),
    mix: (weights) => matmul(g, weights, wide(v)),
    keys: () => wide(k),
    values: () => wide(v),
  };
}

/** Smaller than any number that matters, to divide by where all are 0. */
const TINY = 1e-30;

function wholeNumbers(ctx: ModelContext, layer: number, slots: Dim, bits: SlotBits): HeldSlots {
  const { g, config } = ctx;
  const { nQueryGroups: G, nHead: H, headSize: D } = config;
  const R = H / G;
  const S = keyScales(D);
  const W = D / S;
  const zero = ZERO_POINT[bits];
  const packed = ['B', G, 1, slots, (D * bits) / 8];
  const k = g.input(`k.${layer}`, 'uint8', packed);
  const v = g.input(`v.${layer}`, 'uint8', packed);
  const kScale = g.input(`k.scale.${layer}`, 'float32', ['B', G, 1, slots, S]);
  const vScale = g.input(`v.scale.${layer}`, 'float32', ['B', G, 1, slots, 1]);
  const bytes = (x: Value) => (bits === 8 ? x : unpack(ctx, x));
  const perSlot = transpose(g, vScale, [0, 1, 2, 4, 3]); // [B, G, 1, 1, C]

  /** One query: both sides as whole numbers, part by part of the head. */
  const scores = (q: Value): Value => {
    const parts = transpose(g, reshape(g, q, [0, G, R, S, W], ['B', G, R, S, W]), [0, 1, 3, 2, 4]); // [B, G, S, R, W]
    const step = div(g, max(g, reduceMax(g, abs(g, parts), -1), g.scalar(TINY)), g.scalar(127)); // [B, G, S, R, 1]
    const whole = cast(g, add(g, round(g, div(g, parts, step)), g.scalar(128)), 'uint8');
    const columns = reshape(g, bytes(k), [0, G, -1, S, W], ['B', G, slots, S, W]);
    const products = matmulInteger(g, whole, transpose(g, columns, [0, 1, 3, 4, 2]), 128, zero); // [B, G, S, R, C]
    const scale = transpose(g, reshape(g, kScale, [0, G, -1, S, 1], ['B', G, slots, S, 1]), [0, 1, 3, 4, 2]); // [B, G, S, 1, C]
    const scaled = mul(g, mul(g, cast(g, products, 'float32'), step), scale);
    const sum = S === 1 ? scaled : reduceSum(g, scaled, 2); // [B, G, 1, R, C]
    return transpose(g, sum, [0, 1, 3, 2, 4]);
  };
  /**
   * One query: weights in two bytes each, the second for what the first leaves, as small weights beside a large one count. The
   * values' scales are multiplied into them.
   */
  const mix = (weights: Value): Value => {
    const largest = max(g, reduceMax(g, perSlot, -1), g.scalar(TINY)); // [B, G, 1, 1, 1]
    const x = mul(g, weights, mul(g, perSlot, div(g, g.scalar(255), largest))); // [B, G, R, 1, C], below 256
    const high = cast(g, x, 'uint8');
    const rest = sub(g, x, cast(g, high, 'float32'));
    const low = cast(g, mul(g, rest, g.scalar(255)), 'uint8');
    const rows = concat(g, [high, low], 2); // [B, G, 2R, 1, C]
    const flat = reshape(g, rows, [0, G, 1, 2 * R, -1], ['B', G, 1, 2 * R, slots]);
    const products = cast(g, matmulInteger(g, flat, bytes(v), 0, zero), 'float32'); // [B, G, 1, 2R, D]
    const [a, b] = split(g, products, 3, [R, R]);
    const sum = mul(g, add(g, a, mul(g, b, g.scalar(1 / 255))), mul(g, largest, g.scalar(1 / 255)));
    return transpose(g, sum, [0, 1, 3, 2, 4]);
  };
  const keys = (): Value => {
    const floats = bytesToFloat(g, bytes(k), zero);
    if (S === 1) return mul(g, floats, kScale);
    const parts = reshape(g, floats, [0, G, -1, S, W], ['B', G, slots, S, W]);
    const scaled = mul(g, parts, reshape(g, kScale, [0, G, -1, S, 1], ['B', G, slots, S, 1]));
    return reshape(g, scaled, [0, G, 1, -1, D], ['B', G, 1, slots, D]);
  };
  const values = (): Value => mul(g, bytesToFloat(g, bytes(v), zero), vScale);
  return { slots, scores, mix, keys, values };
}

/** Two numbers a byte [..., D/2] → one [..., D]. */
function unpack({ g }: ModelContext, x: Value): Value {
  const low = g.node('BitwiseAnd', [x, byte(g, 15)], [x])[0];
  const high = g.node('BitShift', [x, byte(g, 4)], [x], { attributes: { direction: 'RIGHT' } })[0];
  return concat(g, [low, high], -1);
}
