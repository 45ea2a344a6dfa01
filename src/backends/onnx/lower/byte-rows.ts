/**
 * @file Products with matrices of bytes (weights/formats/byte-rows.ts), by MatMulIntegerToFloat.
 *
 * ONNX Runtime's kernel for WebAssembly widens the matrix anew in each product, in tiles of 128 x 128: for one row that
 * is two thirds of the work. Reading a tile of a wide matrix, each of its rows is in another page and replaces the ones
 * before it in the cache. So a matrix is cut into tiles of 64 columns, which lie behind each other: the head of the
 * 135M shape took 6.8 ms before, 3.4 ms since (Intel Xeon, one thread).
 */

import { scaleName } from '../../../weights/codec.ts';
import { BYTE_ZERO } from '../../../weights/formats/byte-rows.ts';
import type { Param } from '../../../weights/types.ts';
import { type GraphBuilder, MICROSOFT, type Value } from '../builder.ts';
import * as onnx from '../ops.ts';
import type { LowerContext } from './context.ts';

/** Columns of a tile; fewer are slower, because the operators after the product go along them. */
const MAX_TILE = 64;
const MIN_TILE = 16;
/** Values of a row of activations that share a scale, where they are rounded to 8 bits. */
const MAX_GROUP = 128;
const MIN_GROUP = 32;
/**
 * Up to so many rows are rounded to 16 bits for any matrix: a second row of bytes costs little then, as the matrix is
 * widened once for all rows.
 */
const FEW_ROWS = 8;
/**
 * With matrices that have more rows than that for each of their columns, many rows are rounded to 8 bits: the first
 * ones of MLPs, half of a layer's work. With 8 bits for all matrices the divergence of SmolLM2-135M is 1.8e-2 where it
 * is 5.9e-3 with 16 bits for all, which take 1.5 times as long.
 */
const WIDE = 2;
/** Smaller than any activation that matters, to divide by where all are 0. */
const TINY = 1e-30;
/** The bytes of the rest are so much finer: it is half a step at most. */
const FINER = 254;

/** The largest divisor of a length from `min` to `max`; null: there is none. */
function divisorWithin(length: number, min: number, max: number): number | null {
  for (let size = Math.min(length, max); size >= min; size--) if (length % size === 0) return size;
  return null;
}

/**
 * A matrix as products read it: bytes [tiles, cols, columns of a tile] and scales [tiles, 1, columns of a tile]. ONNX
 * Runtime transposes the constant when the session is made. A table that is also multiplied with is read as these, too:
 * there would be two copies of it otherwise, and ONNX Runtime would read its file twice.
 */
function tilesOf(ctx: LowerContext, { name, shape: [rows, cols] }: Param): readonly [Value, Value] {
  return ctx.shared(`tiles.${name}`, () => {
    const { g } = ctx;
    const size = divisorWithin(rows, MIN_TILE, MAX_TILE) ?? rows;
    const bytes = g.external(name, 'uint8', [rows / size, size, cols]);
    return [onnx.transpose(g, bytes, [0, 2, 1]), g.external(scaleName(name), 'float32', [rows / size, 1, size])];
  });
}

/** x · Wᵀ (+ b) */
export function byteProduct(ctx: LowerContext, x: Value, matrix: Param, bias: Value | null): Value {
  const { g } = ctx;
  const [rows, cols] = matrix.shape;
  const tiles = tilesOf(ctx, matrix);
  const flat = x.shape.length === 2 ? x : onnx.reshape(g, x, [-1, cols], ['M', cols]);
  const group = divisorWithin(cols, MIN_GROUP, MAX_GROUP);
  const exact = () => inTwoBytes(ctx, flat, tiles);
  const y =
    group === null || rows <= WIDE * cols
      ? exact()
      : g.branch(
          isFew(ctx, x),
          () => [exact()],
          () => [inGroups(ctx, flat, tiles, group)],
        )[0];
  const shape = [...x.shape.slice(0, -1), rows];
  const shaped = x.shape.length === 2 ? y : onnx.reshapeTo(g, y, [outerOf(ctx, x), g.ints(rows)], shape);
  return bias ? onnx.add(g, shaped, bias) : shaped;
}

/** The lengths of all axes but the last. */
function outerOf(ctx: LowerContext, x: Value): Value {
  const outer = x.shape.slice(0, -1);
  const make = () => onnx.shapeOf(ctx.g, x, 0, outer.length);
  return isOfChunk(x) ? ctx.shared('chunk.outer', make) : make();
}

function isFew(ctx: LowerContext, x: Value): Value {
  const { g } = ctx;
  const cols = x.shape.at(-1) as number;
  const make = () => {
    const [size] = g.node('Size', [x], [{ dtype: 'int64', shape: [] }]);
    return onnx.less(g, size, onnx.index(g, FEW_ROWS * cols + 1));
  };
  return isOfChunk(x) ? ctx.shared(`chunk.few.${cols}`, make) : make();
}

/** Whether x is [B, T, ·]. */
const isOfChunk = ({ shape }: Value): boolean => shape.length === 3 && shape[0] === 'B' && shape[1] === 'T';

/** Activations as two bytes each: the rounded value, and what is left of it. @param x [M, cols]. @returns [M, rows] */
function inTwoBytes({ g }: LowerContext, x: Value, [bytes, scales]: readonly [Value, Value]): Value {
  const [tiles, cols, size] = bytes.shape as number[];
  const ones = g.constant(new Float32Array(cols).fill(1), [cols]);
  const attributes = { axis: -1, epsilon: { float: TINY } };
  // By their root mean square, no value is larger than the root of their number.
  const step = Math.sqrt(cols) / (BYTE_ZERO - 1);
  const outputs = [x, { dtype: x.dtype, shape: [x.shape[0], 1] }];
  const [even, inverse] = g.node('SimplifiedLayerNormalization', [x, ones], outputs, { attributes });
  const high = onnx.toBytes(g, even, step, BYTE_ZERO);
  const low = onnx.toBytes(g, onnx.sub(g, even, onnx.bytesToFloat(g, high, BYTE_ZERO, step)), step / FINER, BYTE_ZERO);
  const both = { ...onnx.concat(g, [high, low], 0), shape: ['2M', cols] };
  const products = bytesProduct(g, both, bytes, step, scales); // [tiles, 2M, size]
  const each = onnx.reshape(g, products, [0, 2, -1, size], [tiles, 2, x.shape[0], size]);
  const weighted = onnx.mul(g, each, g.constant(Float32Array.of(1, 1 / FINER), [2, 1, 1]));
  return onnx.div(g, joinTiles(g, sumOver(g, weighted)), inverse);
}

/**
 * Activations as one byte each, with a scale for each group of a row.
 * @param x [M, cols].
 * @returns [M, rows]
 */
function inGroups({ g }: LowerContext, x: Value, [bytes, scales]: readonly [Value, Value], group: number): Value {
  const [tiles, cols, size] = bytes.shape as number[];
  const groups = cols / group;
  const parts = onnx.transpose(g, onnx.reshape(g, x, [0, groups, group], [x.shape[0], groups, group]), [1, 0, 2]);
  const largest = onnx.max(g, onnx.reduceMax(g, onnx.abs(g, parts), -1), g.scalar(TINY)); // [groups, M, 1]
  const step = 1 / (BYTE_ZERO - 1);
  const rounded = onnx.toBytes(g, onnx.div(g, parts, largest), step, BYTE_ZERO);
  // With a target that is known before the graph runs, ONNX Runtime would keep a copy of the matrix in this shape.
  const nothing = onnx.mul(g, onnx.shapeOf(g, x, 0, 1), g.ints(0));
  const shape = [tiles, groups, group, size];
  const view = onnx.reshapeTo(g, bytes, [onnx.add(g, g.ints(...shape), nothing)], shape);
  const products = bytesProduct(g, rounded, view, step, g.scalar(1)); // [tiles, groups, M, size]
  return joinTiles(g, onnx.mul(g, sumOver(g, onnx.mul(g, products, largest)), scales));
}

/** [tiles, ·, M, size] → [tiles, M, size] */
function sumOver(g: GraphBuilder, x: Value): Value {
  const [tiles, , M, size] = x.shape;
  const out = { dtype: x.dtype, shape: [tiles, M, size] };
  return g.node('ReduceSum', [x, g.ints(1)], [out], { attributes: { keepdims: 0 } })[0];
}

/** [tiles, M, size] → [M, tiles · size] */
function joinTiles(g: GraphBuilder, x: Value): Value {
  const [tiles, M, size] = x.shape;
  const rows = (tiles as number) * (size as number);
  return onnx.reshape(g, onnx.transpose(g, x, [1, 0, 2]), [-1, rows], [M, rows]);
}

/**
 * Both unsigned: sums of unsigned and signed bytes are cut off at 16 bits where a processor has no better instruction.
 */
function bytesProduct(g: GraphBuilder, a: Value, b: Value, step: number, scales: Value): Value {
  const zero = onnx.byte(g, BYTE_ZERO);
  const shape = [...b.shape.slice(0, -2), a.shape.at(-2)!, b.shape.at(-1)!];
  const inputs = [a, b, g.scalar(step), scales, zero, zero];
  return g.node('MatMulIntegerToFloat', inputs, [{ dtype: 'float32', shape }], { domain: MICROSOFT })[0];
}

/** Rows `ids` of a table. @returns [..., cols] */
export function byteTableRows(ctx: LowerContext, ids: Value, table: Param): Value {
  const { g } = ctx;
  const cols = table.shape[1];
  const [bytes, scales] = tilesOf(ctx, table);
  const size = bytes.shape[2] as number;
  const axis = ids.shape.length;
  const shape = [...ids.shape, cols];
  const lengths = onnx.shapeOf(g, ids, 0, axis);
  if (size === table.shape[0]) {
    const values = onnx.mul(
      g,
      onnx.bytesToFloat(g, onnx.gather(g, bytes, ids, 2), BYTE_ZERO),
      onnx.gather(g, scales, ids, 2),
    );
    const rows = onnx.transpose(g, values, [...ids.shape.map((_, i) => i + 2), 0, 1]);
    return onnx.reshapeTo(g, rows, [lengths, g.ints(cols)], shape);
  }
  const tile = onnx.div(g, ids, onnx.index(g, size));
  const column = onnx.sub(g, ids, onnx.mul(g, tile, onnx.index(g, size)));
  const columns = onnx.reshapeTo(g, column, [lengths, g.ints(1, 1)], [...ids.shape, 1, 1]);
  const [each] = g.node(
    'Expand',
    [columns, onnx.concat(g, [lengths, g.ints(cols, 1)], 0)],
    [{ dtype: 'int64', shape: [...ids.shape, cols, 1] }],
  );
  const found = onnx.bytesToFloat(g, onnx.takeAlong(g, onnx.gather(g, bytes, tile), each), BYTE_ZERO); // [..., cols, 1]
  const scale = onnx.takeAlong(g, onnx.gather(g, scales, tile), columns); // [..., 1, 1]
  return onnx.squeeze(g, onnx.mul(g, found, scale), axis + 1);
}
