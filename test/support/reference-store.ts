/**
 * @file What slots lose when they are stored, computed the plain way: float16 by searching, whole numbers by dividing.
 */
import type { BufferKind } from '../../src/kvcache/buffers.ts';

/** A key or value as it is after it was stored and read. */
export function referenceStore(
  kind: BufferKind,
  which: 'key' | 'value',
  x: Float32Array,
  blocks = false,
): Float32Array {
  if (kind === 'float32') return x;
  if (kind === 'float16') return x.map(nearestHalf);
  if (kind.endsWith('-plain')) return referencePlain(kind, which, x, blocks);
  return plainRotation(referencePlain(`${kind}-plain` as BufferKind, which, plainRotation(x), blocks));
}

/** x times a Hadamard matrix by its definition: ±1/√n by the parity of the bits that row and column share, block by block. */
function plainRotation(x: Float32Array): Float32Array {
  const out = new Float32Array(x.length);
  let from = 0;
  for (const bit of [512, 256, 128, 64, 32, 16, 8, 4, 2, 1]) {
    while (x.length - from >= bit) {
      for (let i = 0; i < bit; i++) {
        let sum = 0;
        for (let j = 0; j < bit; j++) {
          const ones = (i & j).toString(2).replaceAll('0', '').length;
          sum += (ones % 2 === 0 ? 1 : -1) * x[from + j];
        }
        out[from + i] = sum / Math.sqrt(bit);
      }
      from += bit;
    }
  }
  return out;
}

function referencePlain(kind: BufferKind, which: 'key' | 'value', x: Float32Array, blocks: boolean): Float32Array {
  if (blocks) return referenceBlocks(kind, x);
  const largest = kind === 'int8-plain' ? 127 : 7;
  // Keys have a scale for every 32 dimensions, where that goes up.
  const part = which === 'key' && x.length % 32 === 0 ? 32 : x.length;
  const out = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += part) {
    const block = Array.from(x.subarray(from, from + part));
    const scale = Math.fround(Math.max(...block.map(Math.abs)) / largest);
    block.forEach((value, i) => {
      out[from + i] = scale === 0 ? 0 : Math.round(value / scale) * scale;
    });
  }
  return out;
}

/** ggml's q8_0 and q4_0: a scale in float16 for every 32 numbers. */
function referenceBlocks(kind: BufferKind, x: Float32Array): Float32Array {
  const out = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += 32) {
    const block = Array.from(x.subarray(from, from + 32));
    const extreme = block.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
    const scale = Math.fround(kind === 'int8-plain' ? Math.abs(extreme) / 127 : -extreme / 8);
    const stored = Math.sign(scale) * nearestHalf(Math.abs(scale));
    block.forEach((value, i) => {
      const q = stored === 0 ? 0 : Math.fround(value * Math.fround(1 / scale));
      const whole =
        kind === 'int8-plain' ? Math.sign(q) * Math.floor(Math.abs(q) + 0.5) : Math.min(7, Math.floor(q + 8.5) - 8);
      out[from + i] = whole * stored;
    });
  }
  return out;
}

/** The half that is nearest to a number of usual size, ties to even. */
export function nearestHalf(x: number): number {
  if (x === 0) return x;
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(x))));
  const step = 2 ** (exponent - 10);
  const low = Math.floor(x / step);
  const rest = x / step - low;
  const even = low % 2 === 0 ? low : low + 1;
  const whole = rest === 0.5 ? even : rest < 0.5 ? low : low + 1;
  return Math.min(65504, Math.max(-65504, whole * step));
}
