/**
 * @file Blocks of 32 values with one scale, and perhaps a minimum: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.
 *
 * Values are rounded to float32 after each operation, as ggml does.
 */
import { halfValues } from '../../../util/half.ts';

const { fround } = Math;

/** Q4_0: (q - 8) · d. Q4_1 (`minimum`): q · d + m. Byte j of a block holds values j and j + 16. */
export const dequantizeQ4 =
  (minimum: boolean) =>
  (bytes: Uint8Array, out: Float32Array): void => {
    const halves = halfValues();
    const size = minimum ? 20 : 18;
    for (let at = 0, to = 0; at < bytes.length; at += size, to += 32) {
      const d = halves[bytes[at] | (bytes[at + 1] << 8)];
      // -0 changes nothing, not even the sign of 0
      const m = minimum ? halves[bytes[at + 2] | (bytes[at + 3] << 8)] : -0;
      const zero = minimum ? 0 : 8;
      const qs = at + size - 16;
      for (let j = 0; j < 16; j++) {
        const q = bytes[qs + j];
        out[to + j] = fround(((q & 15) - zero) * d) + m;
        out[to + j + 16] = fround(((q >> 4) - zero) * d) + m;
      }
    }
  };

/** As {@link dequantizeQ4}, with a fifth bit of each value in a word of 32 bits. */
export const dequantizeQ5 =
  (minimum: boolean) =>
  (bytes: Uint8Array, out: Float32Array): void => {
    const halves = halfValues();
    const size = minimum ? 24 : 22;
    for (let at = 0, to = 0; at < bytes.length; at += size, to += 32) {
      const d = halves[bytes[at] | (bytes[at + 1] << 8)];
      // -0 changes nothing, not even the sign of 0
      const m = minimum ? halves[bytes[at + 2] | (bytes[at + 3] << 8)] : -0;
      const zero = minimum ? 0 : 16;
      const qs = at + size - 16;
      const qh = qs - 4;
      const high = bytes[qh] | (bytes[qh + 1] << 8) | (bytes[qh + 2] << 16) | (bytes[qh + 3] << 24);
      for (let j = 0; j < 16; j++) {
        const q = bytes[qs + j];
        out[to + j] = fround((((q & 15) | (((high >>> j) & 1) << 4)) - zero) * d) + m;
        out[to + j + 16] = fround((((q >> 4) | (((high >>> (j + 16)) & 1) << 4)) - zero) * d) + m;
      }
    }
  };

/** q · d with signed bytes. */
export function dequantizeQ8_0(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0, to = 0; at < bytes.length; at += 34, to += 32) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    for (let j = 0; j < 32; j++) out[to + j] = signed[at + 2 + j] * d;
  }
}
