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
  const plain = kind.replace('-plain', '');
  if (kind !== plain) return referencePlain(plain, which, x, blocks);
  return plainRotation(referencePlain(plain, which, plainRotation(x), blocks));
}

/**
 * x times a Hadamard matrix by its definition: ±1/√n by the parity of the bits that row and column share, block by
 * block.
 */
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

/** The lowest whole number of a format. */
const LOWEST: Readonly<Record<string, number>> = { int5: -16, int4: -8 };

/** The same without a rotation. */
export function referencePlain(kind: string, which: 'key' | 'value', x: Float32Array, blocks: boolean): Float32Array {
  // Keys have a scale for every 32 dimensions, where that goes up.
  const part = blocks ? 32 : which === 'key' && x.length % 32 === 0 ? 32 : x.length;
  const out = new Float32Array(x.length);
  for (let from = 0; from < x.length; from += part)
    out.set(referencePart(kind, Array.from(x.subarray(from, from + part)), blocks), from);
  return out;
}

/** Numbers with one scale. ggml's blocks have it in float16, and it may be negative. */
function referencePart(kind: string, x: readonly number[], blocks: boolean): number[] {
  const lowest = LOWEST[kind];
  const stored = (scale: number) => (blocks ? Math.sign(scale) * nearestHalf(Math.abs(scale)) : Math.fround(scale));
  const extreme = x.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  if (extreme === 0) return x.map(() => 0);
  const rounded = (value: number) => Math.sign(value) * Math.floor(Math.abs(value) + 0.5);
  if (lowest === undefined) {
    const scale = Math.fround(Math.abs(extreme) / 127);
    // Too small for a scale.
    if (!Number.isFinite(Math.fround(1 / scale)) || stored(scale) === 0) return x.map(() => 0);
    const inBlocks = (value: number) => Math.fround(value * Math.fround(1 / scale));
    return x.map((value) => rounded(blocks ? inBlocks(value) : value / scale) * stored(scale));
  }
  const whole = (value: number) => Math.max(lowest, Math.min(-lowest - 1, Math.floor(value + 0.5)));
  const places = blocks ? [0.95, 1, 1.05] : [(-lowest - 1) / -lowest, 0.95, 1, 1.05];
  const scales = places.map((place) => {
    const first = (blocks ? extreme : -Math.abs(extreme)) / (lowest * place);
    const q = x.map((value) => whole(value / first));
    const scale = sum(x.map((value, i) => value * q[i])) / sum(q.map((n) => n * n));
    return { scale, error: sum(x.map((value, i) => (value - scale * q[i]) ** 2)) };
  });
  const size = sum(x.map((value) => value * value));
  const best = stored(scales.reduce((least, next) => (next.error < least.error - 1e-9 * size ? next : least)).scale);
  return x.map((value) => (best === 0 ? 0 : whole(value / best) * best));
}

const sum = (x: readonly number[]): number => x.reduce((a, b) => a + b, 0);

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
