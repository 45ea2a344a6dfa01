/**
 * @file Elementwise operators, shapes and rows: each function checks shapes and adds one record.
 */
import { GraphError } from '../util/errors.ts';
import type { OpGraph } from './graph.ts';
import { addDims, axisOf, broadcast, type Dim, withDim } from './shapes.ts';
import type { BinaryKind, UnaryKind, Value } from './types.ts';

function binary(kind: BinaryKind) {
  return (g: OpGraph, a: Value, b: Value): Value =>
    g.add('binary', [a, b], { kind }, [{ dtype: a.dtype, shape: broadcast(a.shape, b.shape) }])[0];
}
export const add = binary('add');
export const sub = binary('sub');
export const mul = binary('mul');
export const div = binary('div');

export function unary(g: OpGraph, kind: UnaryKind, x: Value): Value {
  return g.add('unary', [x], { kind }, [x])[0];
}

/** The learned activation xIELU. See {@link OpAttributes.xielu}. */
export function xielu(g: OpGraph, x: Value, alphaP: Value, alphaN: Value, beta: Value, eps: Value): Value {
  return g.add('xielu', [x, alphaP, alphaN, beta, eps], {}, [x])[0];
}

/** x · factor; x itself where the factor is 1. */
export function scale(g: OpGraph, x: Value, factor: number): Value {
  return factor === 1 ? x : g.add('scale', [x], { factor }, [x])[0];
}

/** cap · tanh(x / cap) */
export function softcap(g: OpGraph, x: Value, cap: number): Value {
  return g.add('softcap', [x], { cap }, [x])[0];
}

export function clip(g: OpGraph, x: Value, low: number, high: number): Value {
  return g.add('clip', [x], { low, high }, [x])[0];
}

/** A value without axes. */
export function scalar(g: OpGraph, value: number): Value {
  return g.constant(Float32Array.of(value), []);
}

/**
 * The same numbers under another shape.
 * @param target 0 keeps the axis of that index, -1 is what remains.
 * @param shape the shape that results.
 */
export function reshape(g: OpGraph, x: Value, target: readonly number[], shape: readonly Dim[]): Value {
  return g.add('reshape', [x], { target }, [{ dtype: x.dtype, shape }])[0];
}

/** x [B·T, n] as [B, T, n], with B and T those of `y` [B, T, ...]. */
export function tokensLike(g: OpGraph, x: Value, y: Value): Value {
  const shape = [y.shape[0], y.shape[1], x.shape[1]];
  return g.add('tokensLike', [x, y], {}, [{ dtype: x.dtype, shape }])[0];
}

/** Zeros in the shape of x. */
export function zerosLike(g: OpGraph, x: Value): Value {
  return g.add('zerosLike', [x], {}, [x])[0];
}

export function transpose(g: OpGraph, x: Value, perm: readonly number[]): Value {
  return g.add('transpose', [x], { perm }, [{ dtype: x.dtype, shape: perm.map((i) => x.shape[i]) }])[0];
}

/** Cuts `x` into pieces of the given lengths. @throws GraphError where they do not add up to the axis. */
export function split(g: OpGraph, x: Value, axis: number, lengths: readonly number[]): Value[] {
  const at = axisOf(x.shape, axis);
  const whole = x.shape[at];
  if (typeof whole === 'number' && addDims(...lengths) !== whole)
    throw new GraphError(`split of ${x.name}: the pieces [${lengths}] do not add up to ${whole}`);
  const types = lengths.map((dim) => ({ dtype: x.dtype, shape: withDim(x.shape, at, dim) }));
  return g.add('split', [x], { axis: at, lengths }, types);
}

export function concat(g: OpGraph, values: readonly Value[], axis: number): Value {
  if (values.length === 1) return values[0];
  const [first] = values;
  const at = axisOf(first.shape, axis);
  const shape = withDim(first.shape, at, addDims(...values.map((v) => v.shape[at])));
  return g.add('concat', values, { axis: at }, [{ dtype: first.dtype, shape }])[0];
}

/** Rows `index` (int64) of the first axis of `table`. */
export function gatherRows(g: OpGraph, table: Value, index: Value): Value {
  const shape = [...index.shape, ...table.shape.slice(1)];
  return g.add('gatherRows', [table, index], {}, [{ dtype: table.dtype, shape }])[0];
}

/** The sum over one axis, which stays with length 1. */
export function reduceSum(g: OpGraph, x: Value, axis: number): Value {
  const at = axisOf(x.shape, axis);
  return g.add('reduceSum', [x], { axis: at }, [{ dtype: x.dtype, shape: withDim(x.shape, at, 1) }])[0];
}
