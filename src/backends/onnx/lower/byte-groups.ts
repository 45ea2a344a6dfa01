/**
 * @file Products with matrices of groups of bytes, by MatMulInteger: activations are rounded to 8 bits, row by row and
 * group by group.
 */
import { BYTE_ZERO, byteGroupSize } from '../../../weights/byte-groups.ts';
import { scaleName } from '../../../weights/codec.ts';
import type { Param } from '../../../weights/types.ts';
import type { GraphBuilder, Value } from '../builder.ts';
import * as onnx from '../ops.ts';

/** Smaller than any activation that matters, to divide by where all are 0. */
const TINY = 1e-30;

/** The bytes [rows, groups, size] and scales [rows, groups, 1] of a matrix. */
function stored(g: GraphBuilder, { name, shape: [rows, cols] }: Param): [bytes: Value, scales: Value] {
  const size = byteGroupSize(cols)!;
  return [
    g.external(name, 'uint8', [rows, cols / size, size]),
    g.external(scaleName(name), 'float32', [rows, cols / size, 1]),
  ];
}

/** x · Wᵀ (+ b) */
export function groupProduct(g: GraphBuilder, x: Value, matrix: Param, bias: Value | null): Value {
  const [bytes, scales] = stored(g, matrix);
  const [rows, groups, size] = bytes.shape as number[];
  const flat = onnx.reshape(g, x, [-1, groups, size], ['M', groups, size]);
  const parts = groups === 1 ? onnx.reshape(g, x, [1, -1, size], [1, 'M', size]) : onnx.transpose(g, flat, [1, 0, 2]);
  const largest = onnx.reduceMax(g, onnx.abs(g, parts), -1);
  const step = onnx.div(g, onnx.max(g, largest, g.scalar(TINY)), g.scalar(127)); // [groups, M, 1]
  const rounded = onnx.round(g, onnx.div(g, parts, step));
  const activations = onnx.cast(g, onnx.add(g, rounded, g.scalar(BYTE_ZERO)), 'uint8');
  // Constants: ONNX Runtime transposes them once, when the session is made.
  const columns = onnx.transpose(g, bytes, [1, 2, 0]); // [groups, size, rows]
  const columnScales = onnx.transpose(g, scales, [1, 2, 0]); // [groups, 1, rows]
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
export function groupRows(g: GraphBuilder, ids: Value, table: Param): Value {
  const [bytes, scales] = stored(g, table);
  const width = table.shape[1];
  const rows = onnx.mul(g, onnx.bytesToFloat(g, onnx.gather(g, bytes, ids), BYTE_ZERO), onnx.gather(g, scales, ids));
  return onnx.reshapeTo(g, rows, [onnx.shapeOf(g, ids, 0, ids.shape.length), g.ints(width)], [...ids.shape, width]);
}
