/**
 * @file Operators as functions: each adds a node and infers the shape of what it makes.
 *
 * Where two known lengths contradict each other a GraphError says so while the graph is built, not when it is run.
 */
import { GraphError } from '../errors.ts';
import { type Dim, type Dtype, type GraphBuilder, MICROSOFT, type Value } from './builder.ts';

/** The length of two pieces put end to end. */
export function addDims(...dims: readonly Dim[]): Dim {
  const known = dims.filter((d) => typeof d === 'number').reduce((a, b) => a + b, 0);
  const named = dims.filter((d) => typeof d === 'string' && d !== '');
  if (named.length === 0) return known;
  return [...named, ...(known > 0 ? [known] : [])].join('+');
}

/** The length of `times` pieces of length `dim`. */
export function timesDim(times: number, dim: Dim): Dim {
  if (typeof dim === 'number') return times * dim;
  return times === 1 ? dim : `${times}*(${dim})`;
}

const axisOf = (value: Value, axis: number): number => (axis < 0 ? value.shape.length + axis : axis);

const withDim = (shape: readonly Dim[], axis: number, dim: Dim): Dim[] => shape.map((d, i) => (i === axis ? dim : d));

/** The shape of an elementwise result under NumPy's broadcasting; a name wins over 1, a number over a name. */
export function broadcast(a: readonly Dim[], b: readonly Dim[]): Dim[] {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const x = a[i - rank + a.length] ?? 1;
    const y = b[i - rank + b.length] ?? 1;
    if (x === y || y === 1) return x;
    if (x === 1) return y;
    if (typeof x === 'number' && typeof y === 'number')
      throw new GraphError(`shapes [${a}] and [${b}] do not fit each other`);
    return typeof x === 'number' ? x : y;
  });
}

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
export const and = elementwise('And', 'bool');

function unary(op: string, domain?: string, attributes?: Record<string, number | string | { float: number }>) {
  return (g: GraphBuilder, x: Value): Value => g.node(op, [x], [x], { domain, attributes })[0];
}
export const tanh = unary('Tanh');
export const sigmoid = unary('Sigmoid');
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

/** alpha · a · bᵀ over the last two axes. */
export function matmulTransposed(g: GraphBuilder, a: Value, b: Value, alpha = 1): Value {
  const attributes = { transB: 1, alpha: { float: alpha } };
  const out = { dtype: a.dtype, shape: matmulShape(a, b, true) };
  return g.node('FusedMatMul', [a, b], [out], { attributes, domain: MICROSOFT })[0];
}

export function softmax(g: GraphBuilder, x: Value): Value {
  return g.node('Softmax', [x], [x], { attributes: { axis: -1 } })[0];
}

export function concat(g: GraphBuilder, values: readonly Value[], axis: number): Value {
  if (values.length === 1) return values[0];
  const at = axisOf(values[0], axis);
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
  const at = axisOf(x, axis);
  const whole = x.shape[at];
  if (typeof whole === 'number' && addDims(...pieces) !== whole)
    throw new GraphError(`split of ${x.name}: the pieces [${pieces}] do not add up to ${whole}`);
  const outputs = pieces.map((dim) => ({ dtype: x.dtype, shape: withDim(x.shape, at, dim) }));
  return g.node('Split', [x, lengths], outputs, { attributes: { axis: at } });
}

/**
 * The same numbers under another shape.
 * @param target as ONNX's Reshape takes it: 0 keeps the axis at that place, -1 is what remains.
 * @param shape the shape that results.
 */
export function reshape(g: GraphBuilder, x: Value, target: readonly number[], shape: readonly Dim[]): Value {
  return g.node('Reshape', [x, g.ints(...target)], [{ dtype: x.dtype, shape }])[0];
}

export function transpose(g: GraphBuilder, x: Value, perm: readonly number[]): Value {
  const out = { dtype: x.dtype, shape: perm.map((i) => x.shape[i]) };
  return g.node('Transpose', [x], [out], { attributes: { perm } })[0];
}

/** Rows `indices` of the first axis of `table`. */
export function gather(g: GraphBuilder, table: Value, indices: Value, axis = 0): Value {
  const shape = [...table.shape.slice(0, axis), ...indices.shape, ...table.shape.slice(axis + 1)];
  return g.node('Gather', [table, indices], [{ dtype: table.dtype, shape }], { attributes: { axis } })[0];
}

/** The lengths of axes `start … end` of `x`, as int64. */
export function shapeOf(g: GraphBuilder, x: Value, start: number, end: number): Value {
  return g.node('Shape', [x], [{ dtype: 'int64', shape: [end - start] }], { attributes: { start, end } })[0];
}

export function cast(g: GraphBuilder, x: Value, dtype: Dtype, onnxDtype: number): Value {
  return g.node('Cast', [x], [{ dtype, shape: x.shape }], { attributes: { to: onnxDtype } })[0];
}
