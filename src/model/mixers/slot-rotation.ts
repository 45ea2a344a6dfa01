/**
 * @file Attention to slots that hold rotated vectors: queries, keys and values take part rotated by the same Hadamard
 * matrix, and the result is rotated back. What the step gives to the cache is not rotated: the cache does that where it
 * stores.
 */
import { hadamardMatrix } from '../../kvcache/buffers/hadamard.ts';
import type { LayerTransform } from '../../kvcache/buffers/key-transforms.ts';
import { BUFFERS, type BufferChoice, buffersOf } from '../../kvcache/buffers.ts';
import { reshape } from '../../ops/basic.ts';
import type { OpGraph } from '../../ops/graph.ts';
import { timesDim } from '../../ops/shapes.ts';
import { headLinear } from '../../ops/states.ts';
import type { Value } from '../../ops/types.ts';

/** Which halves of a buffer hold rotated vectors. */
export function rotatedHalves(buffer: BufferChoice): { readonly keys: boolean; readonly values: boolean } {
  const { keys, values } = buffersOf(buffer);
  return { keys: BUFFERS[keys].rotates ?? false, values: BUFFERS[values].rotates ?? false };
}

/** x·H of every row. @param x [B, heads, T, D] */
export function rotateRows(g: OpGraph, x: Value): Value {
  const size = x.shape[3] as number;
  const make = () => ({ data: hadamardMatrix(size), shape: [1, size, size] });
  return headLinear(g, x, g.sharedConstant(`hadamard.${size}`, make));
}

/**
 * Queries or keys multiplied by the layer's matrix, or by H.
 * @param x [B, heads, T, D]: several heads of queries have the matrix of their group.
 */
export function rotateKeys(g: OpGraph, x: Value, transform: LayerTransform | null, by: 'keys' | 'queries'): Value {
  if (transform === null) return rotateRows(g, x);
  const [B, heads, T, size] = x.shape;
  const D = size as number;
  const G = transform[by].length / D ** 2;
  const rows = (heads as number) / G;
  const matrices = g.sharedConstant(transform[by], () => ({ data: transform[by], shape: [G, D, D] }));
  const byGroup = rows === 1 ? x : reshape(g, x, [0, G, -1, D], [B, G, timesDim(rows, T), D]);
  const product = headLinear(g, byGroup, matrices);
  return rows === 1 ? product : reshape(g, product, [0, heads as number, -1, D], x.shape);
}

/** The result of attention to rotated values, rotated back. @param y [B, T, heads·size] */
export function rotateBack(g: OpGraph, y: Value, size: number): Value {
  const [B, T, width] = y.shape;
  const heads = (width as number) / size;
  const rows = rotateRows(g, reshape(g, y, [0, 0, heads, size], [B, T, heads, size]));
  return reshape(g, rows, [0, 0, width as number], y.shape);
}
