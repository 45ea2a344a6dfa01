import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { OpGraph } from '../../../ops/graph.ts';
import { embed, linear } from '../../../ops/layers.ts';
import { BYTE_ZERO, byteRows } from '../../../weights/formats/byte-rows.ts';
import { layOut } from '../../../weights/prepared/layout.ts';
import type { Param, PreparedWeights } from '../../../weights/types.ts';
import { tensorOf } from '../../types.ts';
import { onnxBackend } from '../onnxruntime-node.ts';
import { onnxWebTarget } from '../target.ts';
import { lowerToOnnx } from './lower.ts';

/** Every 41st value is an outlier. */
const numbers = (length: number, seed: number): Float32Array =>
  Float32Array.from({ length }, (_, i) => Math.sin(seed + i * 1.37) * (i % 41 === 0 ? 8 : 1));

/** x · Wᵀ and rows of W, as the graph of a page computes them, and W as it is stored. */
async function compute(rows: number, cols: number, x: Float32Array, ids: readonly number[]) {
  const matrix = numbers(rows * cols, 3);
  const param: Param = { name: 'w.weight', shape: [rows, cols], role: 'embedding', format: 'int8', parts: [] };
  const g = new OpGraph(onnxWebTarget);
  const weight = g.param(param);
  g.output(linear(g, g.input('x', 'float32', ['B', 'T', cols]), weight), 'y');
  g.output(embed(g, g.input('ids', 'int64', ['B', 'N']), weight), 'z');
  const { params, size } = layOut([param], byteRows);
  const file = new Uint8Array(size);
  const arrays = await byteRows.encode(param, matrix, rows, cols);
  for (const [i, { name }] of byteRows.parts(param).entries()) file.set(arrays[i], params.get(name)!.offset);
  const scales = new Float32Array(arrays[1].buffer, arrays[1].byteOffset, rows);
  const stored = Float32Array.from(arrays[0], (byte, i) => (byte - BYTE_ZERO) * scales[Math.floor(i / cols)]);
  const folder = mkdtempSync(join(tmpdir(), 'keyhold-byte-rows-'));
  try {
    writeFileSync(join(folder, 'weights.bin'), file);
    const weights = { params, size, file: { folder, name: 'weights.bin' } } as unknown as PreparedWeights;
    const graph = await onnxBackend.compile(g, weights, { threads: 1 });
    const { y, z } = await graph.run({
      x: tensorOf(x, [1, x.length / cols, cols]),
      ids: tensorOf(BigInt64Array.from(ids, BigInt), [1, ids.length]),
    });
    await graph.dispose();
    // Each tensor is one constant: a page would make its session twice otherwise.
    expect([...lowerToOnnx(g).weights.values()]).toEqual([1, 1]);
    return { stored, y, z };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The error of a product, in parts of what the products have on average. */
function errorOf(y: Float32Array, x: Float32Array, matrix: Float32Array, cols: number): number {
  const rows = matrix.length / cols;
  let [error, sum] = [0, 0];
  for (const i of y.keys()) {
    const [token, row] = [Math.floor(i / rows), i % rows];
    let exact = 0;
    for (let k = 0; k < cols; k++) exact += x[token * cols + k] * matrix[row * cols + k];
    error += (y[i] - exact) ** 2;
    sum += exact ** 2;
  }
  return Math.sqrt(error / sum);
}

describe('matrices of bytes with a scale for each row', () => {
  /** With activations of 16 bits, and with 8 bits for each of a group. */
  const [fine, coarse] = [2e-4, 8e-3];
  it.each([
    ['one token', 1, 960, 128, fine],
    ['eight tokens', 8, 960, 128, fine],
    ['a chunk, and a wide matrix', 40, 960, 128, coarse],
    ['a chunk, and a narrow matrix', 40, 128, 256, fine],
    ['rows that have no tiles', 3, 521, 64, fine],
    ['columns that have no groups', 40, 640, 262, fine],
  ])('are multiplied: %s', async (_, tokens, rows, cols, most) => {
    const x = numbers(tokens * cols, 5);
    const ids = [0, rows - 1, 65 % rows];
    const { stored, y, z } = await compute(rows, cols, x, ids);
    expect(y.dims).toEqual([1, tokens, rows]);
    expect(errorOf(y.data, x, stored, cols)).toBeLessThan(most);
    expect(z.dims).toEqual([1, 3, cols]);
    const expected = ids.flatMap((id) => [...stored.subarray(id * cols, (id + 1) * cols)]);
    for (const [i, value] of expected.entries()) expect(z.data[i]).toBeCloseTo(value, 5);
  });

  it('give 0 for tokens that are 0', async () => {
    const { y } = await compute(192, 64, new Float32Array(20 * 64), [0]);
    expect(y.data.every((value) => value === 0)).toBe(true);
  });
});
