/**
 * @file Matrices, embeddings and norms.
 */
import { GraphError } from '../util/errors.ts';
import type { OpGraph } from './graph.ts';
import type { OpAttributes, Value } from './types.ts';

/** Rows of a table of embeddings. @param ids int64 [B, T]. @returns [B, T, width] */
export function embed(g: OpGraph, ids: Value, table: Value): Value {
  return g.add('embed', [ids, table], {}, [{ dtype: 'float32', shape: [...ids.shape, table.shape[1]] }])[0];
}

/**
 * x · Wᵀ (+ b).
 * @param weight [out, in], a parameter.
 * @throws GraphError where x and the matrix do not fit.
 */
export function linear(g: OpGraph, x: Value, weight: Value, bias: Value | null = null): Value {
  const [out, cols] = weight.shape;
  const inner = x.shape.at(-1);
  if (typeof inner === 'number' && inner !== cols)
    throw new GraphError(`linear: x [${x.shape}] (${x.name}) does not fit ${weight.name} [${weight.shape}]`);
  return g.add('linear', [x, weight, bias], {}, [{ dtype: 'float32', shape: [...x.shape.slice(0, -1), out] }])[0];
}

/** x normalized over its last axis; weight and bias [n] or null. */
export function norm(
  g: OpGraph,
  x: Value,
  weight: Value | null,
  bias: Value | null,
  attributes: OpAttributes['norm'],
): Value {
  return g.add('norm', [x, weight, bias], attributes, [x])[0];
}

/** x + addend, and that sum normalized. @returns [normalized, sum] */
export function addNorm(
  g: OpGraph,
  addend: Value,
  x: Value,
  weight: Value | null,
  bias: Value | null,
  attributes: OpAttributes['addNorm'],
): [normed: Value, sum: Value] {
  const [normed, sum] = g.add('addNorm', [addend, x, weight, bias], attributes, [x, x]);
  return [normed, sum];
}

/** A block-diagonal matrix: x [B, T, W] · weight [blocks, W / blocks, W / blocks] + bias [W]. */
export function blockLinear(g: OpGraph, x: Value, weight: Value, bias: Value): Value {
  return g.add('blockLinear', [x, weight, bias], {}, [x])[0];
}

/**
 * Each head's rows through a matrix of its own, or all through one.
 * @param x [B, H, T, in].
 * @param weight [H or 1, out, in].
 * @returns [B, H, T, out]
 */
export function headLinear(g: OpGraph, x: Value, weight: Value): Value {
  const [heads, out, inner] = weight.shape;
  if ((heads !== 1 && x.shape[1] !== heads) || x.shape[3] !== inner)
    throw new GraphError(`headLinear: x [${x.shape}] does not fit ${weight.name} [${weight.shape}]`);
  const shape = [...x.shape.slice(0, 3), out];
  return g.add('headLinear', [x, weight], {}, [{ dtype: 'float32', shape }])[0];
}

/** The mean of x [B, T, E] over the tokens that are no padding. @param mask [B, T]: 0, or HIDDEN. @returns [B, E] */
export function meanPool(g: OpGraph, x: Value, mask: Value): Value {
  return g.add('meanPool', [x, mask], {}, [{ dtype: 'float32', shape: [x.shape[0], x.shape[2]] }])[0];
}
