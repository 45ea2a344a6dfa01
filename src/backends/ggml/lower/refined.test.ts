/**
 * Products with blocks that a checkpoint has, where 16 bits are wanted: activations in two terms.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { noise } from '../../../../test/support/attention-cases.ts';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import { tensorType } from '../../../checkpoint/gguf/blocks/block-formats.ts';
import * as experts from '../../../ops/experts.ts';
import { OpGraph } from '../../../ops/graph.ts';
import * as layers from '../../../ops/layers.ts';
import type { Value } from '../../../ops/types.ts';
import { layOut } from '../../../weights/prepared/layout.ts';
import type { Param, WeightFormat } from '../../../weights/types.ts';
import { openGgml } from '../binding/binding.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { ggmlBackend } from '../ggml-backend.ts';
import { GgmlSession } from '../graph/session.ts';
import { ggmlCodec } from '../weights/weight-codec.ts';
import { GgmlWeights } from '../weights/weights.ts';

const ggml = openGgml();
const backend = new CpuBackend(ggml, 2);
afterAll(() => backend.dispose());
const folder = await tempFolder('refined');
const FORMATS = [
  ...(['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'iq4_nl', 'mxfp4'] as const),
  ...(['q2_k', 'q3_k', 'q4_k', 'q5_k', 'q6_k', 'iq4_xs'] as const),
];
const [ROWS, COLS, N] = [64, 512, 5];

/** A matrix in blocks, and the values that they stand for. */
async function matrix(stored: (typeof FORMATS)[number], format: WeightFormat, rows = ROWS) {
  const spec: Param = { name: 'w', shape: [rows, COLS], role: 'linear', format: stored, parts: [] };
  const [bytes] = await ggmlCodec.encode(spec, noise([rows, COLS], 3), rows, COLS);
  const values = new Float32Array(rows * COLS);
  tensorType(stored).dequantize(bytes, values);
  return { spec: { ...spec, format, stored }, bytes, values };
}

async function compute(
  { spec, bytes }: Awaited<ReturnType<typeof matrix>>,
  inputs: Readonly<Record<string, { readonly data: Float32Array | BigInt64Array; readonly dims: number[] }>>,
  build: (g: OpGraph, values: Readonly<Record<string, Value>>, weights: Value) => Value,
): Promise<Float32Array> {
  const g = new OpGraph(ggmlBackend.target);
  const values = Object.fromEntries(
    Object.entries(inputs).map(([name, { data, dims }]) => [
      name,
      g.input(name, data instanceof Float32Array ? 'float32' : 'int64', dims),
    ]),
  );
  g.output(build(g, values, g.param(spec)), 'y');
  writeFileSync(join(folder, 'weights.bin'), bytes);
  const weights = new GgmlWeights(ggml, { ...layOut([spec], ggmlCodec), file: { folder, name: 'weights.bin' } });
  const session = await GgmlSession.open(ggml, backend, g, weights);
  const { y } = await session.run(inputs);
  const data = Float32Array.from(y.data);
  await session.dispose();
  weights.dispose();
  return data;
}

/** The error as a part of the size. */
function errorOf(found: Float32Array, wanted: Float32Array): number {
  let [error, size] = [0, 0];
  wanted.forEach((value, i) => {
    error += (found[i] - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(error / size);
}

// Of other sizes in each block, with an outlier: what rounding to 8 bits loses most with.
const x = noise([N, COLS], 7).map((value, i) => (i % 37 === 0 ? 40 * value : value));
const times = (values: Float32Array, row: number, token: number): number => {
  let sum = 0;
  for (let c = 0; c < COLS; c++) sum += values[row * COLS + c] * x[token * COLS + c];
  return sum;
};

describe.each(FORMATS)('%s in place of f16', (stored) => {
  it('is exact to 15 bits of the activations, instead of 8', async () => {
    const wanted = (values: Float32Array) =>
      Float32Array.from({ length: N * ROWS }, (_, i) => times(values, i % ROWS, Math.floor(i / ROWS)));
    const errors: number[] = [];
    for (const format of ['f16', 'int8'] as const) {
      const w = await matrix(stored, format);
      const y = await compute(w, { x: { data: x, dims: [N, COLS] } }, (g, v, weights) =>
        layers.linear(g, v.x, weights),
      );
      errors.push(errorOf(y, wanted(w.values)));
    }
    // Formats with a minimum hold the sum of a block in float16.
    expect(errors[0]).toBeLessThan(3e-4);
    expect(errors[1]).toBeGreaterThan(10 * errors[0]);
  });

  it('is also with experts', async () => {
    const count = 4;
    const w = await matrix(stored, 'f16', count * ROWS);
    const chosen = [0, 3, 1, 2, 3];
    const inputs = {
      x: { data: x, dims: [N, 1, COLS] },
      chosen: { data: BigInt64Array.from(chosen, BigInt), dims: [N, 1] },
    };
    const y = await compute(w, inputs, (g, v, weights) => experts.expertLinear(g, v.x, v.chosen, [weights], count));
    const wanted = Float32Array.from({ length: N * ROWS }, (_, i) => {
      const token = Math.floor(i / ROWS);
      return times(w.values, chosen[token] * ROWS + (i % ROWS), token);
    });
    expect(errorOf(y, wanted)).toBeLessThan(3e-4);
  });
});
