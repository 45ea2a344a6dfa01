/**
 * @file Slots that hold blocks of 8 or 4 bits.
 */
import { GraphError } from '../../util/errors.ts';
import type { GraphMaker, Tensor } from './lower/graph-maker.ts';
import { blockLength, type GgmlType, rowBytes } from './types.ts';

/** An input of bytes [B, G, C, bytes] as blocks [B, G, C, values]. */
export function blockedWidth(g: GraphMaker, dims: readonly number[]): Tensor {
  const bytes = dims[3];
  const type = (['q8_0', 'q4_0'] as const satisfies readonly GgmlType[]).find(
    (each) => bytes % rowBytes(each, blockLength(each)) === 0,
  );
  if (!type) throw new GraphError(`slots of ${bytes} bytes are no blocks of ggml`);
  const values = (bytes / rowBytes(type, blockLength(type))) * blockLength(type);
  return g.leaf(type, [...dims.slice(0, 3), values]);
}
