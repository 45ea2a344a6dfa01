/**
 * @file Products with matrices of groups of bytes, by MatMulInteger: activations are rounded to 8 bits, row by row and
 * group by group.
 */
import { scaleName } from '../../../weights/codec.ts';
import { BYTE_ZERO, byteGroupSize } from '../../../weights/formats/byte-groups.ts';
import type { Param } from '../../../weights/types.ts';
import type { Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerContext } from './context.ts';

/** Smaller than any activation that matters, to divide by where all are 0. */
const TINY = 1e-30;

/**
 * A matrix as products read it: bytes [groups, size, rows] and scales [groups, 1, rows]. ONNX Runtime transposes the
 * constants when the session is made. A table that is also multiplied with is read as these, too: there would be two
 * copies of it otherwise, and ONNX Runtime would read its file twice.
 */
function columnsOf(ctx: LowerContext, { name, shape: [rows, cols] }: Param): readonly [bytes: Value, scales: Value] {
  return ctx.shared(`columns.${name}`, () => {
    const { g } = ctx;
    const size = byteGroupSize(cols)!;
    const bytes = g.external(name, 'uint8', [rows, cols / size, size]);
    const scales = g.external(scaleName(name), 'float32', [rows, cols / size, 1]);
    return [onnx.transpose(g, bytes, [1, 2, 0]), onnx.transpose(g, scales, [1, 2, 0])];
  });
}

/** x · Wᵀ (+ b) */
export function groupProduct(ctx: LowerContext, x: Value, matrix: Param, bias: Value | null): Value {
  const { g } = ctx;
  const [columns, columnScales] = columnsOf(ctx, matrix);
  const [groups, size, rows] = columns.shape as number[];
  const flat = onnx.reshape(g, x, [-1, groups, size], ['M', groups, size]);
  const parts = groups === 1 ? onnx.reshape(g, x, [1, -1, size], [1, 'M', size]) : onnx.transpose(g, flat, [1, 0, 2]);
  const largest = onnx.reduceMax(g, onnx.abs(g, parts), -1);
  const step = onnx.div(g, onnx.max(g, largest, g.scalar(TINY)), g.scalar(127)); // [groups, M, 1]
  const rounded = onnx.round(g, onnx.div(g, parts, step));
  const activations = onnx.cast(g, onnx.add(g, rounded, g.scalar(BYTE_ZERO)), 'uint8');
  // Both unsigned: sums of unsigned and signed bytes are cut off at 16 bits where a processor has no better
  // instruction.
  const products = onnx.matmulInteger(g, activations, columns, BYTE_ZERO, BYTE_ZERO);
  const scaled = onnx.mul(g, onnx.mul(g, onnx.cast(g, products, 'float32'), step), columnScales);
  const sum = groups === 1 ? scaled : onnx.reduceSum(g, scaled, 0); // [1, M, rows]
  const outer = onnx.shapeOf(g, x, 0, x.shape.length - 1);
  const y = onnx.reshapeTo(g, sum, [outer, g.ints(rows)], [...x.shape.slice(0, -1), rows]);
  return bias ? onnx.add(g, y, bias) : y;
}

/** Rows `ids` of a table. */
export function groupRows(ctx: LowerContext, ids: Value, table: Param): Value {
  const { g } = ctx;
  const [columns, columnScales] = columnsOf(ctx, table);
  const bytes = onnx.gather(g, columns, ids, 2); // [groups, size, ...ids]
  const values = onnx.mul(g, onnx.bytesToFloat(g, bytes, BYTE_ZERO), onnx.gather(g, columnScales, ids, 2));
  const rows = onnx.transpose(g, values, [...ids.shape.map((_, axis) => axis + 2), 0, 1]);
  const shape = [...ids.shape, table.shape[1]];
  return onnx.reshapeTo(g, rows, [onnx.shapeOf(g, ids, 0, ids.shape.length), g.ints(table.shape[1])], shape);
}
