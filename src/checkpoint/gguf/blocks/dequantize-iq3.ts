/**
 * @file IQ3_XXS, IQ3_S: groups of four values out of a codebook, with signs and a scale.
 */
import { halfValues } from '../../../util/half.ts';
import { codebook, SIGN_PATTERNS } from './codebooks.ts';
import { writeEntry } from './dequantize-iq2.ts';

/** d, qs[64], then for each 32 values a word: four patterns of signs of 7 bits, a scale of 4 bits. */
export function dequantizeIq3Xxs(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const grid = codebook('iq3_xxs');
  for (let at = 0, to = 0; at < bytes.length; at += 98) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    for (let b = 0; b < 8; b++) {
      const w = at + 66 + 4 * b;
      const word = bytes[w] | (bytes[w + 1] << 8) | (bytes[w + 2] << 16) | (bytes[w + 3] << 24);
      const scale = d * (0.5 + (word >>> 28)) * 0.5;
      for (let l = 0; l < 8; l++, to += 4) {
        const signs = SIGN_PATTERNS[(word >>> (7 * (l >> 1))) & 127] >> (4 * (l & 1));
        writeEntry(grid, bytes[at + 2 + 8 * b + l], 4, signs, scale, out, to);
      }
    }
  }
}

/** d, qs[64], qh[8] (the ninth bit of each index), signs[32], scales[4] (4 bits for each 32 values). */
export function dequantizeIq3S(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const grid = codebook('iq3_s');
  for (let at = 0, to = 0; at < bytes.length; at += 110) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    for (let i = 0; i < 64; i++, to += 4) {
      const b = i >> 3;
      const scale = Math.fround(d * (1 + 2 * ((bytes[at + 106 + (b >> 1)] >> (4 * (b & 1))) & 15)));
      const index = bytes[at + 2 + i] | (((bytes[at + 66 + b] >> (i & 7)) & 1) << 8);
      const signs = bytes[at + 74 + (i >> 1)] >> (4 * (i & 1));
      writeEntry(grid, index, 4, signs, scale, out, to);
    }
  }
}
