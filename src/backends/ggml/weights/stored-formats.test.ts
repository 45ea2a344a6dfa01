import { describe, expect, it } from 'vitest';
import { seeded } from '../../../../test/support/seeded.ts';
import { tensorType } from '../../../checkpoint/gguf/blocks/block-formats.ts';
import { openGgml } from '../binding/binding.ts';
import { blockLength, GGML_TYPES, rowBytes } from '../binding/types.ts';
import { CpuBackend } from '../devices/cpu-backend.ts';
import { TensorContext } from '../memory/tensor-context.ts';
import { ggmlCodec } from './weight-codec.ts';

/** Formats that files have and that nothing is quantized to here: where the scale of a block is. */
const STORED = {
  iq1_s: 0,
  iq1_m: null,
  iq2_xxs: 0,
  iq2_xs: 0,
  iq2_s: 0,
  iq3_xxs: 0,
  iq3_s: 0,
  tq1_0: 52,
  tq2_0: 64,
} as const;
const [ROWS, COLS] = [48, 512];
/** 2^-6 as a half. */
const SCALE = 0x2400;

/** Blocks with any bits but those of their scales. */
function blocksOf(format: keyof typeof STORED): Uint8Array {
  const random = seeded(7);
  const size = rowBytes(format, blockLength(format));
  const bytes = Uint8Array.from({ length: rowBytes(format, ROWS * COLS) }, () => random(256));
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < bytes.length; at += size) {
    const offset = STORED[format];
    if (offset !== null) view.setUint16(at + offset, SCALE, true);
    // Its scale is in the high four bits of four words.
    else
      for (let i = 0; i < 4; i++) {
        const word = at + size - 8 + 2 * i;
        view.setUint16(word, (view.getUint16(word, true) & 0xfff) | (((SCALE >> (4 * i)) & 15) << 12), true);
      }
  }
  return bytes;
}

describe.each(Object.keys(STORED) as (keyof typeof STORED)[])('%s of a file', (format) => {
  it('is kept, and multiplied and gathered as it is', async () => {
    expect(ggmlCodec.keeps!(format)).toBe(true);
    const ggml = openGgml();
    const type = tensorType(format);
    expect([type.number, type.blockLength, type.blockBytes]).toEqual([
      GGML_TYPES[format],
      blockLength(format),
      rowBytes(format, blockLength(format)),
    ]);
    const bytes = blocksOf(format);
    const values = new Float32Array(ROWS * COLS);
    type.dequantize(bytes, values);
    const random = seeded(11);
    const x = Float32Array.from({ length: COLS }, () => random(1001) / 1000 - 0.5);
    const backend = new CpuBackend(ggml, 1);
    const context = new TensorContext(ggml, 8, 8);
    const { pointer } = context;
    const place = (tensor: bigint | null, array: ArrayBufferView) =>
      ggml.ggml_backend_tensor_alloc(ggml.hostBuffer, tensor, ggml.addressOf(array));
    const weights = ggml.ggml_new_tensor_2d(pointer, GGML_TYPES[format], COLS, ROWS);
    const input = ggml.ggml_new_tensor_2d(pointer, GGML_TYPES.f32, COLS, 1);
    const index = ggml.ggml_new_tensor_1d(pointer, GGML_TYPES.i32, 1);
    const product = ggml.ggml_mul_mat(pointer, weights, input);
    const row = ggml.ggml_get_rows(pointer, weights, index);
    const [y, gathered, indices] = [new Float32Array(ROWS), new Float32Array(COLS), Int32Array.of(ROWS - 1, 0, 0, 0)];
    for (const [tensor, array] of [
      [weights, bytes],
      [input, x],
      [index, indices],
      [product, y],
      [row, gathered],
    ] as const)
      place(tensor, array);
    const graph = ggml.ggml_new_graph_custom(pointer, 8, false);
    ggml.ggml_build_forward_expand(graph, product);
    ggml.ggml_build_forward_expand(graph, row);
    await backend.compute({ graph });
    await backend.dispose();
    context.dispose();
    let [error, size] = [0, 0];
    for (let r = 0; r < ROWS; r++) {
      let exact = 0;
      for (let c = 0; c < COLS; c++) exact += values[r * COLS + c] * x[c];
      error += (y[r] - exact) ** 2;
      size += exact ** 2;
    }
    // Activations are rounded to 8 bits.
    expect(Math.sqrt(error / size)).toBeLessThan(0.02);
    expect(size).toBeGreaterThan(0);
    expect(gathered).toEqual(values.subarray((ROWS - 1) * COLS));
  });
});
