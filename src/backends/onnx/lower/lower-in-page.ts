/**
 * @file From a traced model to an ONNX graph in a page, which loads the table of all operators when a model needs it.
 */
import type { OpGraph } from '../../../ops/graph.ts';
import { COMMON, lowerBy, type OnnxModel } from './lower-by.ts';

/** @throws GraphError for an operator that ONNX Runtime does not have. */
export async function lowerInPage(graph: OpGraph): Promise<OnnxModel> {
  if (graph.nodes.every(({ op }) => op in COMMON)) return lowerBy(COMMON, graph);
  const { lowerToOnnx } = await import('./lower.ts');
  return lowerToOnnx(graph);
}
