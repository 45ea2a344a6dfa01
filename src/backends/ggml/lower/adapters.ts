/**
 * @file What live adapters add.
 */
import type { Tensor } from '../memory/tensor.ts';
import { binary } from './elementwise.ts';
import type { GraphMaker } from './graph-maker.ts';

/** x · aᵀ, masked, times each block of columns. @param x [..., in] @param a [r, in] @param blocks [r_i, out_i] */
export function lowRank(g: GraphMaker, x: Tensor, a: Tensor, mask: Tensor | null, blocks: readonly Tensor[]): Tensor {
  const ranks = g.multiply(a, x);
  return timesBlocks(g, mask ? binary(g, 'mul', ranks, mask) : ranks, blocks);
}

/** Rows of b [rows, r], masked, times a [r, width]. */
export function lowRankRows(g: GraphMaker, ids: Tensor, b: Tensor, mask: Tensor | null, a: Tensor): Tensor {
  const ranks = g.rows(b, ids);
  return timesBlocks(g, mask ? binary(g, 'mul', ranks, mask) : ranks, [a]);
}

/** Each block of columns takes the next of the ranks. */
function timesBlocks(g: GraphMaker, ranks: Tensor, blocks: readonly Tensor[]): Tensor {
  const axis = ranks.dims.length - 1;
  let start = 0;
  const parts = blocks.map((block) => {
    const [r] = block.dims;
    const own = g.slice(ranks, axis, start, r);
    start += r;
    return g.multiply(g.dense(g.transpose(block, [1, 0])), own);
  });
  return g.concat(parts, axis);
}
