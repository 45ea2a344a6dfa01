/**
 * @file What slots lose when they are stored, computed the plain way: float16 by searching, whole numbers by dividing.
 */
import type { BufferKind } from '../../src/kvcache/buffers.ts';

/** A key or value as it is after it was stored and read. */
export function referenceStore(kind: BufferKind, which: 'key' | 'value', x: Float32Array): Float32Array {
  if (kind === 'float32') return x;
  if (kind === 'float16') return x.map(nearestHalf);
  const largest = kind === 'int8' ? 127 : 7;
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
