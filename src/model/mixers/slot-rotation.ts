/**
 * @file Attention to slots that hold rotated vectors: queries, keys and values take part rotated by the same Hadamard
 * matrix, and the result is rotated back. What the step gives to the cache is not rotated: the cache does that where it
 * stores.
 */
import { hadamardMatrix } from '../../kvcache/buffers/hadamard.ts';
import { BUFFERS, type BufferChoice, buffersOf } from '../../kvcache/buffers.ts';
import { reshape } from '../../ops/basic.ts';
import type { OpGraph } from '../../ops/graph.ts';
import { headLinear } from '../../ops/layers.ts';
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

/** The result of attention to rotated values, rotated back. @param y [B, T, heads·size] */
export function rotateBack(g: OpGraph, y: Value, size: number): Value {
  const [B, T, width] = y.shape;
  const heads = (width as number) / size;
  const rows = rotateRows(g, reshape(g, y, [0, 0, heads, size], [B, T, heads, size]));
  return reshape(g, rows, [0, 0, width as number], y.shape);
}
