/**
 * @file What is left of a trace: the parameters it uses, and its bytes.
 */
import type { ExternalData } from '../backends/onnx/builder.ts';
import type { Param, PreparedWeights } from '../weights/types.ts';
import type { ModelContext } from './context.ts';
import { ROWS_VIEW } from './linear.ts';

export interface TracedGraph {
  readonly params: readonly Param[];
  readonly nodeCount: number;
  /** The ONNX model, pointing into the prepared weights. */
  serialise(weights: PreparedWeights): Uint8Array;
}

/** Closes a trace. */
export function traced({ g, params }: ModelContext): TracedGraph {
  return {
    params: [...params.values()],
    nodeCount: g.nodeCount,
    serialise: (weights) => g.serialise((name) => locate(weights, name)),
  };
}

function locate(weights: PreparedWeights, name: string): ExternalData {
  const stored = weights.params.get(name.replace(ROWS_VIEW, ''))!;
  return { location: weights.file.name, offset: stored.offset, length: stored.length };
}
