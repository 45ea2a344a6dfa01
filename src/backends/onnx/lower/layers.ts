/**
 * @file Matrices in every weight format, embeddings and norms.
 */
import type { Value as OpValue } from '../../../ops/types.ts';
import { bitsOf, scaleName } from '../../../weights/codec.ts';
import { blockBytes, QUANT_BLOCK } from '../../../weights/formats/quantize.ts';
import type { Param } from '../../../weights/types.ts';
import { MICROSOFT, type Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import { byteProduct, byteTableRows } from './byte-rows.ts';
import type { LowerContext, LowerTable } from './context.ts';

/** MatMulNBits: quantize the activations to 8 bits and multiply integers, the fastest way on CPUs. */
const ACCURACY_INT8 = 4;

/** A second view of the same bytes gets this suffix: gathering wants another shape than multiplying. */
export const ROWS_VIEW = '@rows';

/** x · Wᵀ (+ b) */
export function product(ctx: LowerContext, x: Value, matrix: Param, bias: Value | null): Value {
  const { g, graph } = ctx;
  const [out, cols] = matrix.shape;
  const shape = [...x.shape.slice(0, -1), out];
  if (matrix.format === 'float32') {
    const y = { ...onnx.matmulTransposed(g, x, g.external(matrix.name, 'float32', matrix.shape)), shape };
    return bias ? onnx.add(g, y, bias) : y;
  }
  if (matrix.format === 'int8' && graph.target.byteRows) return byteProduct(ctx, x, matrix, bias);
  const bits = bitsOf(matrix.format);
  const blocks = Math.ceil(cols / QUANT_BLOCK);
  const packed = g.external(matrix.name, 'uint8', [out, blocks, blockBytes(bits)]);
  const scales = g.external(scaleName(matrix.name), 'float32', [out * blocks]);
  const inputs = bias ? [x, packed, scales, null, null, bias] : [x, packed, scales];
  const attributes = { K: cols, N: out, bits, block_size: QUANT_BLOCK, accuracy_level: ACCURACY_INT8 };
  return g.node('MatMulNBits', inputs, [{ dtype: 'float32', shape }], { attributes, domain: MICROSOFT })[0];
}

/** Rows `ids` of a table. */
function rowsOf(ctx: LowerContext, ids: Value, table: Param): Value {
  const { g, graph } = ctx;
  const { name, shape, format } = table;
  const [rows, width] = shape;
  if (format === 'float32') return onnx.gather(g, g.external(name, 'float32', [rows, width]), ids);
  if (format === 'int8' && graph.target.byteRows) return byteTableRows(ctx, ids, table);
  const bits = bitsOf(format);
  const packed = g.external(name + ROWS_VIEW, 'uint8', [rows, (width * bits) / 8]);
  const scales = g.external(scaleName(name) + ROWS_VIEW, 'float32', [rows, width / QUANT_BLOCK]);
  const attributes = { bits, block_size: QUANT_BLOCK, gather_axis: 0, quantize_axis: 1 };
  const out = { dtype: 'float32' as const, shape: [...ids.shape, width] };
  return g.node('GatherBlockQuantized', [packed, ids, scales], [out], { attributes, domain: MICROSOFT })[0];
}

/** Weight (ones where the norm has none) and bias. */
function affine(ctx: LowerContext, x: OpValue, weight: OpValue | null, bias: OpValue | null): Value[] {
  const width = x.shape.at(-1) as number;
  const ones = () => ctx.g.constant(new Float32Array(width).fill(1), [width]);
  return [weight ? ctx.value(weight) : ones(), ...(bias ? [ctx.value(bias)] : [])];
}

export const LAYERS: LowerTable = {
  headLinear: (ctx, { inputs: [x, weight] }) => [onnx.matmulTransposed(ctx.g, ctx.value(x!), ctx.value(weight!))],
  linear: (ctx, { inputs: [x, weight, bias] }) => [product(ctx, ctx.value(x!), ctx.param(weight!), ctx.optional(bias))],
  embed: (ctx, { inputs: [ids, table] }) => [rowsOf(ctx, ctx.value(ids!), ctx.param(table!))],
  norm: (ctx, { inputs: [x, weight, bias], attributes: { kind, eps } }) => {
    const op = kind === 'rms' ? 'SimplifiedLayerNormalization' : 'LayerNormalization';
    const value = ctx.value(x!);
    const inputs = [value, ...affine(ctx, x!, weight, bias)];
    return ctx.g.node(op, inputs, [value], { attributes: { axis: -1, epsilon: { float: eps } } });
  },
  addNorm: (ctx, { inputs: [addend, x, weight, bias], attributes: { kind, eps } }) => {
    const op = kind === 'rms' ? 'SkipSimplifiedLayerNormalization' : 'SkipLayerNormalization';
    const value = ctx.value(x!);
    const inputs = [ctx.value(addend!), value, ...affine(ctx, x!, weight, bias)];
    const attributes = { epsilon: { float: eps } };
    return ctx.g.node(op, inputs, [value, null, null, value], { attributes, domain: MICROSOFT });
  },
  blockLinear: (ctx, { inputs: [x, weight, bias] }) => {
    const { g } = ctx;
    const [u, matrix] = [ctx.value(x!), ctx.value(weight!)];
    const [B, T] = u.shape;
    const [blocks, width] = matrix.shape as number[];
    const parts = onnx.reshape(g, u, [0, 0, blocks, width], [B, T, blocks, width]);
    const out = { dtype: 'float32' as const, shape: [B, blocks, T, width] };
    const [products] = g.node('MatMul', [onnx.transpose(g, parts, [0, 2, 1, 3]), matrix], [out]);
    const flat = onnx.reshapeTo(g, onnx.transpose(g, products, [0, 2, 1, 3]), [onnx.shapeOf(g, u, 0, 3)], u.shape);
    return [onnx.add(g, flat, ctx.value(bias!))];
  },
  meanPool: (ctx, { inputs: [x, mask], outputs: [out] }) => {
    const { g } = ctx;
    const value = ctx.value(x!);
    const [B] = value.shape;
    // 0 counts once, and HIDDEN not at all.
    const counts = onnx.exp(g, onnx.reshape(g, encoderMask(ctx, mask!), [0, 1, -1], [B, 1, 'T']));
    const sum = onnx.reduceSum(g, onnx.mul(g, value, onnx.transpose(g, counts, [0, 2, 1])), 1); // [B, 1, E]
    const E = out.shape[1] as number;
    return [onnx.reshape(g, onnx.div(g, sum, onnx.reduceSum(g, counts, -1)), [0, E], [B, E])];
  },
};

/** The mask, or the positions, of an encoder's sequence: [B, 1, 1, 1, T]. */
export function encoderMask(ctx: LowerContext, mask: OpValue): Value {
  return ctx.input(mask, [1, 2, 3]);
}
