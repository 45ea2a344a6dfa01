import fc from 'fast-check';
import * as ort from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { GraphBuilder, MICROSOFT } from '../../backends/onnx/builder.ts';
import { blockBytes, QUANT_BLOCK, type QuantBits, quantizeRows } from './quantize.ts';

function quantized(values: Float32Array, rows: number, cols: number, bits: QuantBits) {
  const blocks = Math.ceil(cols / QUANT_BLOCK);
  const packed = new Uint8Array(rows * blocks * blockBytes(bits));
  const scales = new Float32Array(rows * blocks);
  quantizeRows(values, rows, cols, bits, packed, scales);
  return { packed, scales, blocks };
}

/** What the format says that the bytes mean, written down apart from the code that makes them. */
function decoded(packed: Uint8Array, scales: Float32Array, rows: number, cols: number, bits: QuantBits): Float32Array {
  const blocks = Math.ceil(cols / 32);
  const out = new Float32Array(rows * cols);
  for (let r = 0; r < rows; r++)
    for (let c = 0; c < cols; c++) {
      const at = r * blocks * 32 + c;
      const q = bits === 8 ? packed[at] - 128 : ((packed[at >> 1] >> (at % 2 === 0 ? 0 : 4)) & 15) - 8;
      out[r * cols + c] = q * scales[r * blocks + Math.floor(c / 32)];
    }
  return out;
}

const random = (n: number, seed: number): Float32Array =>
  Float32Array.from({ length: n }, (_, i) => Math.sin((i + 1) * 12.9898 + seed * 78.233) * (1 + ((i * 7) % 5)));

async function run(build: (g: GraphBuilder) => void, inputs: Record<string, ort.Tensor>): Promise<Float32Array> {
  const g = new GraphBuilder();
  build(g);
  const model = g.serialize(() => {
    throw new Error('no external weights here');
  });
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 });
  try {
    return (await session.run(inputs)).y.data as Float32Array;
  } finally {
    await session.release();
  }
}

describe('quantizeRows', () => {
  it.each([4, 8] as const)('keeps %i-bit values within half a step', (bits) => {
    fc.assert(
      fc.property(
        fc.array(fc.float({ noNaN: true, min: -1000, max: 1000 }), { minLength: 1, maxLength: 80 }),
        (list) => {
          const values = Float32Array.from(list);
          const { packed, scales } = quantized(values, 1, values.length, bits);
          const back = decoded(packed, scales, 1, values.length, bits);
          for (let b = 0; b * 32 < values.length; b++) {
            const block = values.subarray(b * 32, b * 32 + 32);
            const largest = block.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
            let squared = 0;
            block.forEach((v, i) => {
              squared += (v - back[b * 32 + i]) ** 2;
            });
            // 4 bits: the worst value is the opposite of the largest one, which may be cut to 7/8 of it.
            const bound = bits === 8 ? (largest / 127) * 0.501 : largest * 0.1251;
            expect(Math.sqrt(squared / block.length)).toBeLessThanOrEqual(bound + 1e-30);
          }
        },
      ),
    );
  });

  it.each([4, 8] as const)('keeps zeros and constants with %i bits', (bits) => {
    for (const value of [0, 1, -1, 3e-39, 1e30]) {
      const values = new Float32Array(64).fill(value);
      const { packed, scales } = quantized(values, 2, 32, bits);
      const back = decoded(packed, scales, 2, 32, bits);
      for (const v of back) expect(Math.abs(v - value)).toBeLessThanOrEqual(Math.abs(value) * 1e-2);
    }
  });

  // The widths: whole blocks, less than one, and a last block that is not full.
  it.each([
    [4, 64],
    [4, 40],
    [4, 24],
    [8, 64],
    [8, 40],
    [8, 24],
  ] as const)('is what MatMulNBits reads (%i bits, width %i)', async (bits, cols) => {
    const rows = 7;
    const values = random(rows * cols, cols);
    const { packed, scales, blocks } = quantized(values, rows, cols, bits);
    const x = random(3 * cols, 99);
    const y = await run(
      (g) => {
        const input = g.input('x', 'float32', ['T', cols]);
        const attributes = { K: cols, N: rows, bits, block_size: QUANT_BLOCK };
        const inputs = [
          input,
          g.constant(packed, [rows, blocks, blockBytes(bits)]),
          g.constant(scales, [rows * blocks]),
        ];
        const [out] = g.node('MatMulNBits', inputs, [{ dtype: 'float32', shape: ['T', rows] }], {
          attributes,
          domain: MICROSOFT,
        });
        g.output(out, 'y');
      },
      { x: new ort.Tensor('float32', x, [3, cols]) },
    );
    const w = decoded(packed, scales, rows, cols, bits);
    for (let t = 0; t < 3; t++)
      for (let r = 0; r < rows; r++) {
        let sum = 0;
        for (let c = 0; c < cols; c++) sum += x[t * cols + c] * w[r * cols + c];
        expect(y[t * rows + r]).toBeCloseTo(sum, 3);
      }
  });

  it.each([4, 8] as const)('is what GatherBlockQuantized reads (%i bits)', async (bits) => {
    const [rows, cols] = [5, 64];
    const values = random(rows * cols, 3);
    const { packed, scales, blocks } = quantized(values, rows, cols, bits);
    const y = await run(
      (g) => {
        const ids = g.input('ids', 'int64', ['N']);
        const attributes = { bits, block_size: QUANT_BLOCK, gather_axis: 0, quantize_axis: 1 };
        const inputs = [g.constant(packed, [rows, (cols * bits) / 8]), ids, g.constant(scales, [rows, blocks])];
        const [out] = g.node('GatherBlockQuantized', inputs, [{ dtype: 'float32', shape: ['N', cols] }], {
          attributes,
          domain: MICROSOFT,
        });
        g.output(out, 'y');
      },
      { ids: new ort.Tensor('int64', BigInt64Array.of(4n, 0n), [2]) },
    );
    const w = decoded(packed, scales, rows, cols, bits);
    expect([...y]).toEqual([...w.subarray(4 * cols, 5 * cols), ...w.subarray(0, cols)]);
  });
});
