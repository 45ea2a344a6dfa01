/**
 * @file IQ1_S, IQ1_M: groups of eight values -1, 0, 1 out of a codebook, moved up or down by an eighth.
 */
import { halfValues } from '../../../util/half.ts';
import { codebook } from './codebooks.ts';

const DELTA = 0.125;

function writeGroup(grid: Int8Array, index: number, delta: number, scale: number, out: Float32Array, to: number): void {
  for (let j = 0; j < 8; j++) out[to + j] = scale * (grid[index * 8 + j] + delta);
}

/** d, qs[32], qh u16[8]: four times 3 bits of index, a scale of 3 bits, the sign of the move. */
export function dequantizeIq1S(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const grid = codebook('iq1');
  for (let at = 0, to = 0; at < bytes.length; at += 50) {
    const d = halves[bytes[at] | (bytes[at + 1] << 8)];
    for (let b = 0; b < 8; b++) {
      const high = bytes[at + 34 + 2 * b] | (bytes[at + 35 + 2 * b] << 8);
      const scale = Math.fround(d * (2 * ((high >> 12) & 7) + 1));
      const delta = high & 0x8000 ? -DELTA : DELTA;
      for (let l = 0; l < 4; l++, to += 8)
        writeGroup(grid, bytes[at + 2 + 4 * b + l] | (((high >> (3 * l)) & 7) << 8), delta, scale, out, to);
    }
  }
}

/** qs[32], qh[16] (3 bits of index and the sign of the move for each group), scales u16[4], which hold d as well. */
export function dequantizeIq1M(bytes: Uint8Array, out: Float32Array): void {
  const halves = halfValues();
  const grid = codebook('iq1');
  for (let at = 0, to = 0; at < bytes.length; at += 56) {
    const words = [0, 1, 2, 3].map((i) => bytes[at + 48 + 2 * i] | (bytes[at + 49 + 2 * i] << 8));
    // The upper 4 bits of each word make up the half d.
    const d = halves[words.reduce((bits, word, i) => bits | ((word >> 12) << (4 * i)), 0)];
    for (let i = 0; i < 32; i++, to += 8) {
      const pair = i >> 1; // groups of 16 values share a scale of 3 bits
      const scale = Math.fround(d * (2 * ((words[pair >> 2] >> (3 * (pair & 3))) & 7) + 1));
      const high = bytes[at + 32 + pair] >> (4 * (i & 1));
      writeGroup(grid, bytes[at + i] | ((high & 7) << 8), high & 8 ? -DELTA : DELTA, scale, out, to);
    }
  }
}
