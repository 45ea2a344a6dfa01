/**
 * @file Blocks of 256 values -1, 0, 1 with one scale: TQ1_0 (five values a byte), TQ2_0 (four values a byte).
 */
import { halfValues } from '../../../util/half.ts';

/** The runs of TQ1_0: where their bytes are, how many, and how many values each holds. */
const RUNS = [
  { start: 0, bytes: 32, values: 5 },
  { start: 32, bytes: 16, values: 5 },
  { start: 48, bytes: 4, values: 4 },
] as const;
const POWERS = [1, 3, 9, 27, 81] as const;

/**
 * qs[48], qh[4], d. A byte is a fraction of 256 in base 3: digit n is the integer part of 3 · frac(byte · 3ⁿ / 256).
 */
export function dequantizeTq1(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 54) {
    const d = halves[bytes[at + 52] | (bytes[at + 53] << 8)];
    for (const { start, bytes: count, values } of RUNS)
      for (let n = 0; n < values; n++)
        for (let m = 0; m < count; m++) {
          const fraction = (bytes[at + start + m] * POWERS[n]) & 255;
          out[to++] = (((fraction * 3) >> 8) - 1) * d;
        }
  }
}

/** qs[64], d. Two halves of 32 bytes; a byte holds four values that are 32 apart. */
export function dequantizeTq2(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  for (let at = 0, to = 0; at < bytes.length; at += 66) {
    const d = halves[bytes[at + 64] | (bytes[at + 65] << 8)];
    for (let half = 0; half < 64; half += 32)
      for (let shift = 0; shift < 8; shift += 2)
        for (let m = 0; m < 32; m++) out[to++] = (((bytes[at + half + m] >> shift) & 3) - 1) * d;
  }
}
