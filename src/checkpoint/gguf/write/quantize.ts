/**
 * @file Float32 values as a GGUF file stores them: f32, f16, bf16, q8_0, q4_0, rounded as ggml's reference does.
 */
import { narrow } from '../../../util/half.ts';

/** Formats that are written. */
export type WrittenFormat = 'f32' | 'f16' | 'bf16' | 'q8_0' | 'q4_0';
export const WRITTEN_FORMATS: readonly WrittenFormat[] = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0'];

/** Values of one block of q8_0 and q4_0. */
const BLOCK = 32;
const { fround } = Math;

/** The bytes of values; for blocks their number must be a multiple of 32. */
export function encodeValues(values: Float32Array, format: WrittenFormat): Uint8Array {
  switch (format) {
    case 'f32':
      return narrow(values, 'F32');
    case 'f16':
      return narrow(values, 'F16');
    case 'bf16':
      return narrow(values, 'BF16');
    case 'q8_0':
      return quantizeQ8(values);
    default:
      return quantizeQ4(values);
  }
}

/** d = max|v| / 127, q = round(v / d), halves away from zero. */
function quantizeQ8(values: Float32Array): Uint8Array {
  const blocks = values.length / BLOCK;
  const out = new Uint8Array(blocks * 34);
  const scales = new Float32Array(blocks);
  for (let b = 0; b < blocks; b++) {
    let largest = 0;
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i++) largest = Math.max(largest, Math.abs(values[i]));
    const scale = fround(largest / 127);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    for (let i = 0; i < BLOCK; i++) {
      const v = fround(values[b * BLOCK + i] * inverse);
      out[b * 34 + 2 + i] = Math.sign(v) * Math.floor(Math.abs(v) + 0.5);
    }
    scales[b] = scale;
  }
  putScales(out, scales, 34);
  return out;
}

/** d = the value that is largest in size / -8, q = ⌊v / d + 8.5⌋ up to 15. Byte j holds values j and j + 16. */
function quantizeQ4(values: Float32Array): Uint8Array {
  const blocks = values.length / BLOCK;
  const out = new Uint8Array(blocks * 18);
  const scales = new Float32Array(blocks);
  for (let b = 0; b < blocks; b++) {
    let largest = 0;
    for (let i = b * BLOCK; i < (b + 1) * BLOCK; i++) if (Math.abs(values[i]) > Math.abs(largest)) largest = values[i];
    const scale = fround(largest / -8);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    const nibble = (i: number) => Math.min(15, Math.trunc(fround(fround(values[b * BLOCK + i] * inverse) + 8.5)));
    for (let j = 0; j < 16; j++) out[b * 18 + 2 + j] = nibble(j) | (nibble(j + 16) << 4);
    scales[b] = scale;
  }
  putScales(out, scales, 18);
  return out;
}

/** The scale of each block, as a half in its first two bytes. */
function putScales(out: Uint8Array, scales: Float32Array, size: number): void {
  const halves = narrow(scales, 'F16');
  for (let b = 0; b < scales.length; b++) {
    out[b * size] = halves[2 * b];
    out[b * size + 1] = halves[2 * b + 1];
  }
}
