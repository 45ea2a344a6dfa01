/**
 * @file Runs a graph of ggml for one of its tensors.
 */
import { CpuBackend } from '../../src/backends/ggml/devices/cpu-backend.ts';
import type { GraphMaker } from '../../src/backends/ggml/lower/graph-maker.ts';
import type { Tensor } from '../../src/backends/ggml/memory/tensor.ts';
import { product } from '../../src/util/numbers.ts';

/** Computes a tensor, and disposes of its graph. @returns its numbers, the memory of the graph, and how many operators it has. */
export async function computeTensor(g: GraphMaker, x: Tensor) {
  const { ggml } = g;
  const backend = new CpuBackend(ggml, 2);
  const result = g.copy(x);
  ggml.ggml_set_output(result.pointer);
  ggml.ggml_build_forward_expand(g.graph, result.pointer);
  const memory = backend.graphMemory.allocate(g.graph, g.context);
  memory.prepare();
  await backend.compute({ graph: g.graph });
  const y = new Float32Array(product(x.dims));
  ggml.ggml_backend_tensor_get(result.pointer, y, 0, y.byteLength);
  const operators = ggml.ggml_graph_n_nodes(g.graph);
  memory.dispose();
  g.context.dispose();
  await backend.dispose();
  return { y, bytes: memory.bytes, operators };
}
