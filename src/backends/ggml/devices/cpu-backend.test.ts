import { describe, expect, it } from 'vitest';
import { GraphError } from '../../../util/errors.ts';
import { openGgml } from '../binding/binding.ts';
import type { Pointer } from '../binding/functions.ts';
import { nativeCounts } from '../binding/native.ts';
import { blockLength, GGML_TYPES, type GgmlType, rowBytes } from '../binding/types.ts';
import { fastBufferFor } from '../memory/fast-buffers.ts';
import { TensorContext } from '../memory/tensor-context.ts';
import { type ComputeGraph, CpuBackend } from './cpu-backend.ts';

const ggml = openGgml();

/** One matrix product: `weights` [rows, cols] of a type, `x` [tokens, cols] in float32. */
async function product(
  type: GgmlType,
  bytes: Uint8Array,
  rows: number,
  cols: number,
  x: Float32Array,
  fast: Pointer = null,
) {
  const backend = new CpuBackend(ggml, 2);
  const weights = new TensorContext(ggml, 1);
  const w = ggml.ggml_new_tensor_2d(weights.pointer, GGML_TYPES[type], cols, rows);
  let buffer: Pointer = null;
  if (fast) {
    buffer = ggml.ggml_backend_alloc_ctx_tensors_from_buft(weights.pointer, fast);
    ggml.ggml_backend_tensor_set(w, bytes, 0, bytes.byteLength);
  } else ggml.ggml_backend_tensor_alloc(ggml.hostBuffer, w, ggml.addressOf(bytes));
  const context = new TensorContext(ggml, 8, 8);
  const graph = ggml.ggml_new_graph_custom(context.pointer, 8, false);
  const input = ggml.ggml_new_tensor_2d(context.pointer, GGML_TYPES.f32, cols, x.length / cols);
  ggml.ggml_backend_tensor_alloc(ggml.hostBuffer, input, ggml.addressOf(x));
  const y = ggml.ggml_mul_mat(context.pointer, w, input);
  ggml.ggml_build_forward_expand(graph, y);
  const allocator = ggml.ggml_gallocr_new(ggml.ggml_backend_get_default_buffer_type(backend.pointer));
  expect(ggml.ggml_gallocr_alloc_graph(allocator, graph)).toBe(true);
  await backend.compute({ graph });
  const out = new Float32Array((x.length / cols) * rows);
  ggml.ggml_backend_tensor_get(y, out, 0, out.byteLength);
  ggml.ggml_gallocr_free(allocator);
  if (buffer) ggml.ggml_backend_buffer_free(buffer);
  context.dispose();
  weights.dispose();
  await backend.dispose();
  return out;
}

/** Numbers of one size that repeat nothing. */
const noise = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => 2 * ((Math.sin((i + 1) * 12.9898 + seed) * 43758.5453) % 1));

describe('CpuBackend', () => {
  const [rows, cols, tokens] = [64, 512, 3];
  const w = noise(rows * cols, 1);
  const x = noise(tokens * cols, 2);
  const plain = Float32Array.from({ length: tokens * rows }, (_, i) => {
    const [t, r] = [Math.floor(i / rows), i % rows];
    let sum = 0;
    for (let k = 0; k < cols; k++) sum += w[r * cols + k] * x[t * cols + k];
    return sum;
  });
  const largest = Math.max(...plain.map(Math.abs));

  /** Largest error that a format may have, of the largest result. */
  const formats: readonly (readonly [GgmlType, number])[] = [
    ['f32', 1e-6],
    ['f16', 2e-3],
    ['bf16', 1e-2],
    ['q8_0', 1e-2],
    ['q4_0', 0.15],
    ['q4_1', 0.1],
    ['q5_1', 0.05],
    ['q4_k', 0.1],
    ['q6_k', 0.03],
  ];
  it.each(formats)(
    'multiplies %s weights, as they are stored and as they are laid out for speed',
    async (type, bound) => {
      const bytes = new Uint8Array(rows * rowBytes(type, cols));
      expect(ggml.ggml_row_size(GGML_TYPES[type], cols)).toBe(rowBytes(type, cols));
      expect(ggml.ggml_blck_size(GGML_TYPES[type])).toBe(blockLength(type));
      ggml.ggml_quantize_chunk(GGML_TYPES[type], w, bytes, 0, rows, cols, null);
      for (const fast of new Set([null, fastBufferFor(ggml, { type, rows, cols })])) {
        const y = await product(type, bytes, rows, cols, x, fast);
        for (const [i, value] of y.entries()) expect(Math.abs(value - plain[i])).toBeLessThan(bound * largest);
      }
    },
  );

  it('knows which matrices have no other layout', () => {
    expect(fastBufferFor(ggml, { type: 'f32', rows, cols })).toBe(null);
    expect(fastBufferFor(ggml, { type: 'q4_0', rows: 7, cols: 64 })).toBe(null);
    const types = ggml.fastBuffers.map(({ type }) => type);
    for (const type of Object.keys(GGML_TYPES) as GgmlType[])
      for (const experts of [null, 3])
        expect([null, ...types]).toContain(fastBufferFor(ggml, { type, rows: 32, cols: 512, experts }));
  });

  it('reads typed arrays where they are, at any alignment', async () => {
    const shifted = new Uint8Array(w.byteLength + 4).subarray(4);
    shifted.set(new Uint8Array(w.buffer));
    const y = await product('f32', shifted, rows, cols, x);
    for (const [i, value] of y.entries()) expect(value).toBeCloseTo(plain[i], 3);
  });

  it('stops in the middle of a graph when the signal says so, goes on with the next, and leaves the event loop free', async () => {
    const backend = new CpuBackend(ggml, 1);
    const context = new TensorContext(ggml, 1010, 2000);
    const graph = ggml.ggml_new_graph_custom(context.pointer, 2000, false);
    const side = 256;
    const matrix = new Float32Array(side * side).fill(1 / side);
    const m = ggml.ggml_new_tensor_2d(context.pointer, GGML_TYPES.f32, side, side);
    ggml.ggml_backend_tensor_alloc(ggml.hostBuffer, m, ggml.addressOf(matrix));
    let y = m;
    for (let i = 0; i < 1000; i++) y = ggml.ggml_mul_mat(context.pointer, m, y);
    ggml.ggml_build_forward_expand(graph, y);
    const allocator = ggml.ggml_gallocr_new(ggml.ggml_backend_get_default_buffer_type(backend.pointer));
    ggml.ggml_gallocr_alloc_graph(allocator, graph);
    const work = { graph };
    const control = new AbortController();
    const started = performance.now();
    setTimeout(() => control.abort(new Error('enough')), 50);
    await expect(backend.compute(work, control.signal)).rejects.toThrow('enough');
    const aborted = performance.now() - started;
    await expect(backend.compute(work, AbortSignal.abort(new Error('never')))).rejects.toThrow('never');
    const again = performance.now();
    await backend.compute(work);
    expect(aborted).toBeLessThan(performance.now() - again);
    const running = backend.compute(work);
    await new Promise((resolve) => setTimeout(resolve, 20));
    await Promise.all([expect(running).rejects.toThrow(GraphError), backend.dispose()]);
    await expect(backend.compute(work)).rejects.toThrow(GraphError);
    ggml.ggml_gallocr_free(allocator);
    context.dispose();
  });

  it('runs a short graph on this thread from the second time on, and lets the event loop go on between', async () => {
    const backend = new CpuBackend(ggml, 2);
    const context = new TensorContext(ggml, 4, 8);
    const graph = ggml.ggml_new_graph_custom(context.pointer, 8, false);
    const numbers = new Float32Array([3]);
    const leaf = ggml.ggml_new_tensor_1d(context.pointer, GGML_TYPES.f32, 1);
    ggml.ggml_backend_tensor_alloc(ggml.hostBuffer, leaf, ggml.addressOf(numbers));
    ggml.ggml_build_forward_expand(graph, ggml.ggml_sqr(context.pointer, leaf));
    const allocator = ggml.ggml_gallocr_new(ggml.ggml_backend_get_default_buffer_type(backend.pointer));
    ggml.ggml_gallocr_alloc_graph(allocator, graph);
    const work: ComputeGraph = { graph };
    let turns = 0;
    const turn = (): void => {
      turns++;
      timer = setImmediate(turn);
    };
    let timer = setImmediate(turn);
    // The first time it is computed by another thread.
    await backend.compute(work);
    turns = 0;
    // Where the event loop does not go on, there is no turn, however long it takes.
    for (const end = performance.now() + 4000; turns < 3 && performance.now() < end; ) await backend.compute(work);
    clearImmediate(timer);
    expect(work.lastTook).toBeLessThan(50);
    expect(turns).toBeGreaterThanOrEqual(3);
    ggml.ggml_gallocr_free(allocator);
    context.dispose();
    await backend.dispose();
  });

  it('gives back all that is native', async () => {
    const before = nativeCounts();
    for (let i = 0; i < 20; i++) {
      const backend = new CpuBackend(ggml, 2);
      const context = new TensorContext(ggml, 4);
      context.dispose();
      context.dispose();
      await backend.dispose();
      await backend.dispose();
    }
    expect(nativeCounts()).toEqual(before);
  });
});
