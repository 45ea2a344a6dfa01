/**
 * @file The K formats: blocks of 256 values in groups of 16 or 32, whose scales and minima are quantized themselves.
 *
 * Values are rounded to float32 after each operation, as ggml does.
 */
import { halfValues } from '../../../util/half.ts';

const { fround } = Math;

/** scales[16], qs[64], d, dmin: 16 groups of 16 values of 2 bits. */
export function dequantizeQ2K(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 84, to += 256) {
    const d = halves[bytes[at + 80] | (bytes[at + 81] << 8)];
    const dmin = halves[bytes[at + 82] | (bytes[at + 83] << 8)];
    for (let g = 0; g < 16; g++) {
      const scale = fround(d * (bytes[at + g] & 15));
      const min = fround(dmin * (bytes[at + g] >> 4));
      // Halves of 128 values have 32 bytes each; a byte holds four values that are 32 apart.
      const qs = at + 16 + (g >> 3) * 32 + (g & 1) * 16;
      const shift = ((g & 7) >> 1) * 2;
      for (let l = 0; l < 16; l++) out[to + g * 16 + l] = fround(scale * ((bytes[qs + l] >> shift) & 3)) - min;
    }
  }
}

/** hmask[32], qs[64], scales[12], d: 16 groups of 16 values of 3 bits, -4 … 3. */
export function dequantizeQ3K(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 110, to += 256) {
    const d = halves[bytes[at + 108] | (bytes[at + 109] << 8)];
    const scales = at + 96;
    for (let g = 0; g < 16; g++) {
      const low = g < 8 ? bytes[scales + g] & 15 : bytes[scales + g - 8] >> 4;
      const high = (bytes[scales + 8 + (g & 3)] >> (2 * (g >> 2))) & 3;
      const scale = fround(d * ((low | (high << 4)) - 32));
      const first = (g & 1) * 16;
      const qs = at + 32 + (g >> 3) * 32 + first;
      const shift = ((g & 7) >> 1) * 2;
      const bit = g >> 1;
      for (let l = 0; l < 16; l++) {
        const offset = (bytes[at + first + l] >> bit) & 1 ? 0 : 4;
        out[to + g * 16 + l] = scale * (((bytes[qs + l] >> shift) & 3) - offset);
      }
    }
  }
}

/** The scale (6 bits) of group `g` of 8, from the 12 bytes at `at`. */
function scaleOf(bytes: Uint8Array, at: number, g: number): number {
  return g < 4 ? bytes[at + g] & 63 : (bytes[at + g + 4] & 15) | ((bytes[at + g - 4] >> 6) << 4);
}

/** The minimum (6 bits) of group `g` of 8. */
function minOf(bytes: Uint8Array, at: number, g: number): number {
  return g < 4 ? bytes[at + g + 4] & 63 : (bytes[at + g + 4] >> 4) | ((bytes[at + g] >> 6) << 4);
}

/** d, dmin, scales[12], qs[128]: 8 groups of 32 values of 4 bits. */
export function dequantizeQ4K(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 144, to += 256) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    const dmin = halves[bytes[at + 2] | (bytes[at + 3] << 8)];
    for (let g = 0; g < 8; g++) {
      const scale = fround(d * scaleOf(bytes, at + 4, g));
      const min = fround(dmin * minOf(bytes, at + 4, g));
      const qs = at + 16 + (g >> 1) * 32;
      const shift = (g & 1) * 4;
      for (let l = 0; l < 32; l++) out[to + g * 32 + l] = fround(scale * ((bytes[qs + l] >> shift) & 15)) - min;
    }
  }
}

/** As Q4_K, with qh[32] before the low bits: bit g of byte l is the fifth of value l of group g. */
export function dequantizeQ5K(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 176, to += 256) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    const dmin = halves[bytes[at + 2] | (bytes[at + 3] << 8)];
    const qh = at + 16;
    for (let g = 0; g < 8; g++) {
      const scale = fround(d * scaleOf(bytes, at + 4, g));
      const min = fround(dmin * minOf(bytes, at + 4, g));
      const qs = at + 48 + (g >> 1) * 32;
      const shift = (g & 1) * 4;
      for (let l = 0; l < 32; l++) {
        const q = ((bytes[qs + l] >> shift) & 15) | (((bytes[qh + l] >> g) & 1) << 4);
        out[to + g * 32 + l] = fround(scale * q) - min;
      }
    }
  }
}

/** ql[128], qh[64], scales i8[16], d: 16 groups of 16 values of 6 bits. */
export function dequantizeQ6K(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const signed = new Int8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0, to = 0; at < bytes.length; at += 210, to += 256) {
    const d = halves[bytes[at + 208] | (bytes[at + 209] << 8)];
    for (let g = 0; g < 16; g++) {
      const scale = fround(d * signed[at + 192 + g]);
      // Each half of 128 values has 64 bytes of low bits and 32 of high bits; run r of 32 values takes bits 2r of the
      // latter.
      const run = (g & 7) >> 1;
      const ql = at + (g >> 3) * 64 + (run & 1) * 32 + (g & 1) * 16;
      const qh = at + 128 + (g >> 3) * 32 + (g & 1) * 16;
      const shift = (run >> 1) * 4;
      for (let l = 0; l < 16; l++) {
        const q = ((bytes[ql + l] >> shift) & 15) | (((bytes[qh + l] >> (2 * run)) & 3) << 4);
        out[to + g * 16 + l] = scale * (q - 32);
      }
    }
  }
}

/** d f32, qs i8[256], sums of 16 (unused here). */
export function dequantizeQ8K(bytes: Uint8Array, out: Float32Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0, to = 0; at < bytes.length; at += 292, to += 256) {
    const d = view.getFloat32(at, true);
    for (let l = 0; l < 256; l++) out[to + l] = d * view.getInt8(at + 4 + l);
  }
}
