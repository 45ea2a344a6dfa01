/**
 * @file ONNX operators as functions: each adds a node and infers the shape of its result.
 *
 * Where two known lengths contradict each other a GraphError says so while the graph is built, not when it is run.
 */
import { addDims, axisOf, broadcast, type Dim, withDim } from '../../ops/shapes.ts';
import { GraphError } from '../../util/errors.ts';
import { type Dtype, type GraphBuilder, MICROSOFT, ONNX_DTYPES, type Value } from './builder.ts';

function elementwise(op: string, dtype?: Dtype) {
  return (g: GraphBuilder, a: Value, b: Value): Value =>
    g.node(op, [a, b], [{ dtype: dtype ?? a.dtype, shape: broadcast(a.shape, b.shape) }])[0];
}
export const add = elementwise('Add');
export const sub = elementwise('Sub');
export const mul = elementwise('Mul');
export const div = elementwise('Div');
export const less = elementwise('Less', 'bool');
export const greater = elementwise('Greater', 'bool');
export const equal = elementwise('Equal', 'bool');
export const and = elementwise('And', 'bool');
export const pow = elementwise('Pow');
export const max = elementwise('Max');

function unary(op: string, domain?: string, attributes?: Record<string, number | string | { float: number }>) {
  return (g: GraphBuilder, x: Value): Value => g.node(op, [x], [x], { domain, attributes })[0];
}
export const tanh = unary('Tanh');
export const abs = unary('Abs');
export const log = unary('Log');
export const round = unary('Round');
export const sigmoid = unary('Sigmoid');
export const exp = unary('Exp');
export const floor = unary('Floor');
export const neg = unary('Neg');
export const sqrt = unary('Sqrt');
export const softplus = unary('Softplus');
export const relu = unary('Relu');
export const gelu = unary('Gelu');
export const geluTanh = unary('Gelu', undefined, { approximate: 'tanh' });
/** x·σ(x), as one fused operator. */
export const silu = unary('QuickGelu', MICROSOFT, { alpha: { float: 1 } });
/** x·σ(1.702·x). */
export const quickGelu = unary('QuickGelu', MICROSOFT, { alpha: { float: 1.702 } });

export function where(g: GraphBuilder, condition: Value, yes: Value, no: Value): Value {
  const shape = broadcast(condition.shape, broadcast(yes.shape, no.shape));
  return g.node('Where', [condition, yes, no], [{ dtype: yes.dtype, shape }])[0];
}

export function clip(g: GraphBuilder, x: Value, low: number, high: number): Value {
  return g.node('Clip', [x, g.scalar(low), g.scalar(high)], [x])[0];
}

function matmulShape(a: Value, b: Value, transposeB: boolean): Dim[] {
  const [k, n] = transposeB ? [b.shape.at(-1)!, b.shape.at(-2)!] : [b.shape.at(-2)!, b.shape.at(-1)!];
  const inner = a.shape.at(-1)!;
  if (typeof k === 'number' && typeof inner === 'number' && k !== inner)
    throw new GraphError(`matmul of [${a.shape}] (${a.name}) and [${b.shape}] (${b.name}): ${inner} is not ${k}`);
  return [...broadcast(a.shape.slice(0, -2), b.shape.slice(0, -2)), a.shape.at(-2)!, n];
}

export function matmul(g: GraphBuilder, a: Value, b: Value): Value {
  return g.node('MatMul', [a, b], [{ dtype: a.dtype, shape: matmulShape(a, b, false) }])[0];
}

/** a · bᵀ over the last two axes. */
export function matmulTransposed(g: GraphBuilder, a: Value, b: Value): Value {
  if (!g.hasFusedProducts) {
    const axes = b.shape.map((_, i) => i);
    return matmul(g, a, transpose(g, b, [...axes.slice(0, -2), axes.length - 1, axes.length - 2]));
  }
  const attributes = { transB: 1 };
  const out = { dtype: a.dtype, shape: matmulShape(a, b, true) };
  return g.node('FusedMatMul', [a, b], [out], { attributes, domain: MICROSOFT })[0];
}

export function softmax(g: GraphBuilder, x: Value): Value {
  return g.node('Softmax', [x], [x], { attributes: { axis: -1 } })[0];
}

export function concat(g: GraphBuilder, values: readonly Value[], axis: number): Value {
  if (values.length === 1) return values[0];
  const at = axisOf(values[0].shape, axis);
  const shape = withDim(values[0].shape, at, addDims(...values.map((v) => v.shape[at])));
  return g.node('Concat', values, [{ dtype: values[0].dtype, shape }], { attributes: { axis: at } })[0];
}

/** Cuts `x` into pieces of the given lengths; `lengths` may be a value where they are known only at run time. */
export function split(
  g: GraphBuilder,
  x: Value,
  axis: number,
  pieces: readonly Dim[],
  lengths: Value = g.ints(...(pieces as number[])),
): Value[] {
  const at = axisOf(x.shape, axis);
  const whole = x.shape[at];
  if (typeof whole === 'number' && addDims(...pieces) !== whole)
    throw new GraphError(`split of ${x.name}: the pieces [${pieces}] do not add up to ${whole}`);
  const outputs = pieces.map((dim) => ({ dtype: x.dtype, shape: withDim(x.shape, at, dim) }));
  return g.node('Split', [x, lengths], outputs, { attributes: { axis: at } });
}

/**
 * The same numbers under another shape.
 * @param target as ONNX's Reshape takes it: 0 keeps the axis of that index, -1 is what remains.
 * @param shape the shape that results.
 */
export function reshape(g: GraphBuilder, x: Value, target: readonly number[], shape: readonly Dim[]): Value {
  return g.node('Reshape', [x, g.ints(...target)], [{ dtype: x.dtype, shape }])[0];
}

/** {@link reshape}, where the target is known only at run time. */
export function reshapeTo(g: GraphBuilder, x: Value, target: readonly Value[], shape: readonly Dim[]): Value {
  return g.node('Reshape', [x, concat(g, target, 0)], [{ dtype: x.dtype, shape }])[0];
}

export function transpose(g: GraphBuilder, x: Value, perm: readonly number[]): Value {
  const out = { dtype: x.dtype, shape: perm.map((i) => x.shape[i]) };
  return g.node('Transpose', [x], [out], { attributes: { perm } })[0];
}

/** The same numbers without one axis of length 1. */
export function squeeze(g: GraphBuilder, x: Value, axis: number): Value {
  const shape = x.shape.filter((_, i) => i !== axis);
  return g.node('Squeeze', [x, g.ints(axis)], [{ dtype: x.dtype, shape }])[0];
}

/** Rows `indices` of one axis of `table`. */
export function gather(g: GraphBuilder, table: Value, indices: Value, axis = 0): Value {
  const shape = [...table.shape.slice(0, axis), ...indices.shape, ...table.shape.slice(axis + 1)];
  return g.node('Gather', [table, indices], [{ dtype: table.dtype, shape }], { attributes: { axis } })[0];
}

/** The lengths of axes `start … end` of `x`, as int64. */
export function shapeOf(g: GraphBuilder, x: Value, start: number, end: number): Value {
  return g.node('Shape', [x], [{ dtype: 'int64', shape: [end - start] }], { attributes: { start, end } })[0];
}

export function cast(g: GraphBuilder, x: Value, dtype: Dtype): Value {
  return g.node('Cast', [x], [{ dtype, shape: x.shape }], { attributes: { to: ONNX_DTYPES[dtype] } })[0];
}

/** An int64 constant without axes: an index that takes its axis away. */
export function index(g: GraphBuilder, value: number): Value {
  return g.constant(BigInt64Array.of(BigInt(value)), []);
}

/** Over one axis, which stays with length 1. */
function reduce(op: string) {
  return (g: GraphBuilder, x: Value, axis: number): Value => {
    const at = axisOf(x.shape, axis);
    const out = { dtype: x.dtype, shape: withDim(x.shape, at, 1) };
    return g.node(op, [x, g.ints(at)], [out], { attributes: { keepdims: 1 } })[0];
  };
}
export const reduceSum = reduce('ReduceSum');
export const reduceMax = reduce('ReduceMax');

/** The `k` largest values of the last axis, descending, and (int64) where they were. */
export function topK(g: GraphBuilder, x: Value, k: number): [values: Value, indices: Value] {
  const shape = withDim(x.shape, x.shape.length - 1, k);
  const outputs = [
    { dtype: x.dtype, shape },
    { dtype: 'int64' as const, shape },
  ];
  const [values, indices] = g.node('TopK', [x, g.ints(k)], outputs, { attributes: { axis: -1 } });
  return [values, indices];
}

/** x at `indices` of the last axis. */
export function takeAlong(g: GraphBuilder, x: Value, indices: Value): Value {
  const out = { dtype: x.dtype, shape: indices.shape };
  return g.node('GatherElements', [x, indices], [out], { attributes: { axis: -1 } })[0];
}

/** x with `updates` at `indices` of the last axis. */
export function putAlong(g: GraphBuilder, x: Value, indices: Value, updates: Value): Value {
  return g.node('ScatterElements', [x, indices, updates], [x], { attributes: { axis: -1 } })[0];
}

/** x with rows `updates` added to, or replacing, those at `index` (int64 [M, n], the first n axes). */
export function scatterRows(g: GraphBuilder, x: Value, index: Value, updates: Value, how: 'add' | 'none'): Value {
  return g.node('ScatterND', [x, index, updates], [x], { attributes: { reduction: how } })[0];
}

/** A tensor of the same shape, filled with one value. */
export function filledLike(g: GraphBuilder, x: Value, value: number): Value {
  return filled(g, [shapeOf(g, x, 0, x.shape.length)], x.shape, value);
}

/** A tensor of one value. @param lengths of its axes, in pieces. */
export function filled(g: GraphBuilder, lengths: readonly Value[], shape: readonly Dim[], value: number): Value {
  return g.node('Expand', [g.scalar(value), concat(g, lengths, 0)], [{ dtype: 'float32', shape }])[0];
}

/** a · b of whole numbers with the given zero points, in int32. */
export function matmulInteger(g: GraphBuilder, a: Value, b: Value, zeroA: number, zeroB: number): Value {
  const out = { dtype: 'int32' as const, shape: matmulShape(a, b, false) };
  return g.node('MatMulInteger', [a, b, byte(g, zeroA), byte(g, zeroB)], [out])[0];
}

/** Bytes as float32, less `zero`, times `step`. */
export function bytesToFloat(g: GraphBuilder, x: Value, zero: number, step = 1): Value {
  return g.node('DequantizeLinear', [x, g.scalar(step), byte(g, zero)], [{ dtype: 'float32', shape: x.shape }])[0];
}

/** x / step, rounded to whole numbers that a byte can hold when `zero` is added. */
export function toBytes(g: GraphBuilder, x: Value, step: number, zero: number): Value {
  return g.node('QuantizeLinear', [x, g.scalar(step), byte(g, zero)], [{ dtype: 'uint8', shape: x.shape }])[0];
}

/** A byte without axes. */
export function byte(g: GraphBuilder, value: number): Value {
  return g.constant(Uint8Array.of(value), []);
}

/** Rows of x [N, ...] by `index` (int64 [M, n]: the first n axes) → [M, ...]. */
export function gatherNd(g: GraphBuilder, x: Value, index: Value): Value {
  const shape = ['M', ...x.shape.slice(index.shape[1] as number)];
  return g.node('GatherND', [x, index], [{ dtype: x.dtype, shape }])[0];
}
