/**
 * @file Products of rows with a matrix in prepared weights, by the ggml engine.
 */
import type { Ggml } from '../../src/backends/ggml/binding/ggml.ts';
import type { CpuBackend } from '../../src/backends/ggml/devices/cpu-backend.ts';
import { ggmlBackend } from '../../src/backends/ggml/ggml-backend.ts';
import { GgmlSession } from '../../src/backends/ggml/graph/session.ts';
import { GgmlWeights } from '../../src/backends/ggml/weights/weights.ts';
import { OpGraph } from '../../src/ops/graph.ts';
import * as layers from '../../src/ops/layers.ts';
import type { Param, PreparedWeights } from '../../src/weights/types.ts';

/** Bytes that were copied at the opening, and the product. @param x rows as wide as the matrix. */
export async function multiply(
  { ggml, backend }: { readonly ggml: Ggml; readonly backend: CpuBackend },
  param: Param,
  weights: PreparedWeights,
  x: Float32Array,
): Promise<{ copied: number; y: Float32Array }> {
  const dims = [x.length / param.shape[1], param.shape[1]];
  const g = new OpGraph(ggmlBackend.target);
  g.output(layers.linear(g, g.input('x', 'float32', dims), g.param(param)), 'y');
  const opened = new GgmlWeights(ggml, weights);
  try {
    const session = await GgmlSession.open(ggml, backend, g, opened);
    const { y } = await session.run({ x: { data: x, dims } });
    const found = { copied: opened.rearranged, y: Float32Array.from(y.data as Float32Array) };
    await session.dispose();
    return found;
  } finally {
    opened.dispose();
  }
}
