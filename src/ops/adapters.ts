/**
 * @file What live adapters add: low-rank products, and vectors that differ by row of the batch.
 */
import type { OpGraph } from './graph.ts';
import { addDims, type Dim } from './shapes.ts';
import type { OpAttributes, Value } from './types.ts';

/**
 * One line for each row of the batch, as it fits a value over tokens, over all B·T lines, or over those that want
 * logits.
 */
export function rowVector(
  g: OpGraph,
  lines: Value,
  ids: Value,
  logitRows: Value,
  over: OpAttributes['rowVector']['over'],
): Value {
  const width = lines.shape[2];
  const shapes: Record<typeof over, Dim[]> = {
    tokens: [lines.shape[0], 1, width],
    flat: ['B*T', width],
    logits: ['N', width],
  };
  return g.add('rowVector', [lines, ids, logitRows], { over }, [{ dtype: 'float32', shape: shapes[over] }])[0];
}

/**
 * x · aᵀ, masked, times each block of columns.
 * @param x [..., in]
 * @param a [r, in]
 * @param mask what the ranks are multiplied with; null: nothing.
 * @param blocks [r_i, out_i] of each block of columns; its ranks are the next r_i of r.
 * @param ranks int64 [blocks]: the numbers r_i; null with one block.
 * @returns [..., Σ out_i]
 */
export function lowRank(
  g: OpGraph,
  x: Value,
  a: Value,
  mask: Value | null,
  blocks: readonly Value[],
  ranks: Value | null,
): Value {
  const shape = [...x.shape.slice(0, -1), addDims(...blocks.map((b) => b.shape[1]))];
  return g.add('lowRank', [x, a, mask, ranks, ...blocks], {}, [{ dtype: 'float32', shape }])[0];
}

/** Rows `ids` of b [rows, r], masked, times a [r, width]. @param ids int64 [B, T]. @returns [B, T, width] */
export function lowRankRows(g: OpGraph, ids: Value, b: Value, mask: Value | null, a: Value): Value {
  const shape = [...ids.shape, a.shape[1]];
  return g.add('lowRankRows', [ids, b, mask, a], {}, [{ dtype: 'float32', shape }])[0];
}
