/**
 * @file IQ2_XXS, IQ2_XS, IQ2_S: groups of eight values out of a codebook, with signs and a scale.
 */
import { halfValues } from '../../../util/half.ts';
import { codebook, SIGN_PATTERNS } from './codebooks.ts';

/** Eight values of entry `index`, scaled and signed. */
export function writeEntry(
  grid: Int8Array,
  index: number,
  width: number,
  signs: number,
  scale: number,
  out: Float32Array,
  to: number,
): void {
  for (let j = 0; j < width; j++)
    out[to + j] = scale * ((signs >> j) & 1 ? -grid[index * width + j] : grid[index * width + j]);
}

/** d, then for each 32 values: four indices of a byte, four patterns of signs of 7 bits, a scale of 4 bits. */
export function dequantizeIq2Xxs(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const grid = codebook('iq2_xxs');
  for (let at = 0, to = 0; at < bytes.length; at += 66) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    for (let b = at + 2; b < at + 66; b += 8) {
      const word = bytes[b + 4] | (bytes[b + 5] << 8) | (bytes[b + 6] << 16) | (bytes[b + 7] << 24);
      const scale = d * (0.5 + (word >>> 28)) * 0.25;
      for (let l = 0; l < 4; l++, to += 8)
        writeEntry(grid, bytes[b + l], 8, SIGN_PATTERNS[(word >>> (7 * l)) & 127], scale, out, to);
    }
  }
}

/** d, qs u16[32] (9 bits of index, 7 of signs), scales[8] (4 bits for each 16 values). */
export function dequantizeIq2Xs(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const grid = codebook('iq2_xs');
  for (let at = 0, to = 0; at < bytes.length; at += 74) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    for (let i = 0; i < 32; i++, to += 8) {
      const scale = d * (0.5 + ((bytes[at + 66 + (i >> 2)] >> (i & 2 ? 4 : 0)) & 15)) * 0.25;
      const q = bytes[at + 2 + 2 * i] | (bytes[at + 3 + 2 * i] << 8);
      writeEntry(grid, q & 511, 8, SIGN_PATTERNS[q >> 9], scale, out, to);
    }
  }
}

/** d, qs[32], signs[32], qh[8] (2 bits for each index), scales[8]. */
export function dequantizeIq2S(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const grid = codebook('iq2_s');
  for (let at = 0, to = 0; at < bytes.length; at += 82) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    for (let i = 0; i < 32; i++, to += 8) {
      const scale = d * (0.5 + ((bytes[at + 74 + (i >> 2)] >> (i & 2 ? 4 : 0)) & 15)) * 0.25;
      const high = (bytes[at + 66 + (i >> 2)] >> (2 * (i & 3))) & 3;
      writeEntry(grid, bytes[at + 2 + i] | (high << 8), 8, bytes[at + 34 + i], scale, out, to);
    }
  }
}
