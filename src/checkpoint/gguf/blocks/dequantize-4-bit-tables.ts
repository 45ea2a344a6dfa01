/**
 * @file 4-bit formats whose values stand in a table: IQ4_NL, IQ4_XS, MXFP4, NVFP4.
 */
import { halfValues } from '../../../util/half.ts';

const { fround } = Math;

/** The values of IQ4_NL and IQ4_XS. */
const NON_LINEAR = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
/** Twice the values of E2M1 (1 sign, 2 exponent, 1 mantissa bit). ggml has no negative zero. */
export const E2M1_DOUBLED = Int8Array.of(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);

/** 16 bytes at `at` become 32 values: byte j holds j and j + 16. */
function run(bytes: Uint8Array, at: number, scale: number, table: Int8Array, out: Float32Array, to: number): void {
  for (let j = 0; j < 16; j++) {
    out[to + j] = scale * table[bytes[at + j] & 15];
    out[to + j + 16] = scale * table[bytes[at + j] >> 4];
  }
}

/** d, qs[16]. */
export function dequantizeIq4Nl(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 18, to += 32)
    run(bytes, at + 2, halves[bytes[at] | (bytes[at + 1] << 8)], NON_LINEAR, out, to);
}

/** d, scales_h u16, scales_l[4], qs[128]: 8 runs of 32 values with scales of 6 bits. */
export function dequantizeIq4Xs(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 136, to += 256) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    const high = bytes[at + 2] | (bytes[at + 3] << 8);
    for (let b = 0; b < 8; b++) {
      const low = (bytes[at + 4 + (b >> 1)] >> (4 * (b & 1))) & 15;
      const scale = fround(d * ((low | (((high >> (2 * b)) & 3) << 4)) - 32));
      run(bytes, at + 8 + 16 * b, scale, NON_LINEAR, out, to + 32 * b);
    }
  }
}

/** e (a power of two), qs[16]. */
export function dequantizeMxfp4(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, to = 0; at < bytes.length; at += 17, to += 32)
    run(bytes, at + 1, 2 ** (bytes[at] - 128), E2M1_DOUBLED, out, to);
}

/** Half the value of an unsigned E4M3; the pattern of NaN counts as 0, as in ggml. */
function halfOfE4M3(code: number): number {
  if (code === 0x7f) return 0;
  const exponent = (code >> 3) & 15;
  const mantissa = code & 7;
  return exponent === 0 ? mantissa * 2 ** -10 : (1 + mantissa / 8) * 2 ** (exponent - 8);
}

/** d E4M3[4], qs[32]: 4 runs of 16 values; byte j of a run holds j and j + 8. */
export function dequantizeNvfp4(bytes: Uint8Array, out: Float32Array): void {
  for (let at = 0, to = 0; at < bytes.length; at += 36, to += 64)
    for (let b = 0; b < 4; b++) {
      const scale = halfOfE4M3(bytes[at + b]);
      for (let j = 0; j < 8; j++) {
        const q = bytes[at + 4 + 8 * b + j];
        out[to + 16 * b + j] = scale * E2M1_DOUBLED[q & 15];
        out[to + 16 * b + j + 8] = scale * E2M1_DOUBLED[q >> 4];
      }
    }
}
