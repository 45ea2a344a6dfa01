/**
 * @file Bytes with one scale for each row, 128 for 0: what MatMulInteger multiplies in WebAssembly.
 */
import { bytesOf, scaledBlocks, scaleName, type WeightCodec } from '../codec.ts';

/** The byte that stands for 0. */
export const BYTE_ZERO = 128;

/** As {@link scaledBlocks}, with matrices in 8 bits as bytes [rows, cols] and scales [rows]. */
export const byteRows: WeightCodec = {
  id: `byte rows 1, ${scaledBlocks.id}`,
  parts(spec) {
    const { name, format } = spec;
    if (format !== 'int8') return scaledBlocks.parts(spec);
    const [rows, cols] = spec.shape;
    return [
      { name, dtype: 'uint8', shape: [rows, cols], length: rows * cols },
      { name: scaleName(name), dtype: 'float32', shape: [rows], length: 4 * rows },
    ];
  },
  encode(spec, values, rows, cols) {
    if (spec.format !== 'int8') return scaledBlocks.encode(spec, values, rows, cols);
    const bytes = new Uint8Array(rows * cols).fill(BYTE_ZERO);
    const scales = new Float32Array(rows);
    for (let row = 0; row < rows; row++) {
      const [start, end] = [row * cols, (row + 1) * cols];
      let largest = 0;
      for (let i = start; i < end; i++) largest = Math.max(largest, Math.abs(values[i]));
      const scale = Math.fround(largest / 127);
      scales[row] = scale;
      if (scale === 0) continue;
      const inverse = 1 / scale;
      for (let i = start; i < end; i++)
        bytes[i] = Math.max(-127, Math.min(127, Math.round(values[i] * inverse))) + BYTE_ZERO;
    }
    return [bytes, bytesOf(scales)];
  },
};
