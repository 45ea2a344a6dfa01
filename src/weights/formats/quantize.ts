/**
 * @file Blocks of 32 values with one scale: the layout of ONNX Runtime's MatMulNBits and GatherBlockQuantized with
 * their default zero points (8 for 4 bits, 128 for 8).
 */

/** Values that share one scale. */
export const QUANT_BLOCK = 32;

/** Changes whenever the same weights would be stored otherwise: prepared weights of older versions are made anew. */
export const QUANTISER_VERSION = 1;

export type QuantBits = 4 | 8;

/** Bytes of one block. */
export function blockBytes(bits: QuantBits): number {
  return (QUANT_BLOCK * bits) / 8;
}

/**
 * Quantizes rows of a matrix. The last block of a row is filled up with zeros.
 * @param values [rows, cols]
 * @param packed [rows, ceil(cols / 32), blockBytes]: two values a byte for 4 bits, the first one low.
 * @param scales [rows, ceil(cols / 32)]
 */
export function quantizeRows(
  values: Float32Array,
  rows: number,
  cols: number,
  bits: QuantBits,
  packed: Uint8Array,
  scales: Float32Array,
): void {
  const blocks = Math.ceil(cols / QUANT_BLOCK);
  const block = new Float32Array(QUANT_BLOCK);
  const size = blockBytes(bits);
  const quantize = bits === 4 ? quantize4 : quantize8;
  for (let row = 0; row < rows; row++)
    for (let b = 0; b < blocks; b++) {
      const start = row * cols + b * QUANT_BLOCK;
      const end = Math.min(start + QUANT_BLOCK, (row + 1) * cols);
      for (let i = 0; i < QUANT_BLOCK; i++) block[i] = start + i < end ? values[start + i] : 0;
      const at = row * blocks + b;
      scales[at] = quantize(block, packed, at * size);
    }
}

/** q = round(v / s) + 128 with s = max|v| / 127. Returns s. */
function quantize8(block: Float32Array, out: Uint8Array, at: number): number {
  let largest = 0;
  for (let i = 0; i < QUANT_BLOCK; i++) largest = Math.max(largest, Math.abs(block[i]));
  const scale = Math.fround(largest / 127);
  const inverse = scale > 0 ? 1 / scale : 0;
  for (let i = 0; i < QUANT_BLOCK; i++)
    out[at + i] = Math.min(127, Math.max(-127, Math.round(block[i] * inverse))) + 128;
  return scale;
}

/**
 * Scales tried for 4 bits, as divisors of the value that is largest in size: -8 takes it exactly, the others cut it off
 * a little.
 */
const DIVISORS = [-8, -7.5, -7, -8.5];

/**
 * q = round(v / s) + 8, in 0 … 15. The scale is the one of {@link DIVISORS} with the smallest squared error.
 * Returns s, which may be negative.
 */
function quantize4(block: Float32Array, out: Uint8Array, at: number): number {
  let largest = 0;
  for (let i = 0; i < QUANT_BLOCK; i++) if (Math.abs(block[i]) > Math.abs(largest)) largest = block[i];
  let best = 0;
  let least = Number.POSITIVE_INFINITY;
  if (largest !== 0)
    for (const divisor of DIVISORS) {
      const scale = Math.fround(largest / divisor);
      if (scale === 0) continue;
      const inverse = 1 / scale;
      let error = 0;
      for (let i = 0; i < QUANT_BLOCK; i++) {
        const d = block[i] - nibble(block[i] * inverse) * scale;
        error += d * d;
      }
      if (error < least) {
        least = error;
        best = scale;
      }
    }
  const inverse = best === 0 ? 0 : 1 / best;
  for (let i = 0; i < QUANT_BLOCK; i += 2)
    out[at + i / 2] = nibble(block[i] * inverse) + 8 + ((nibble(block[i + 1] * inverse) + 8) << 4);
  return best;
}

function nibble(value: number): number {
  const rounded = Math.floor(value + 0.5);
  return Math.max(-8, Math.min(7, rounded));
}
