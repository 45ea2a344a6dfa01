/**
 * @file Narrowing of float32 to the types that checkpoints store, rounded to the nearest (ties to even), as the training libraries do.
 */
import type { StoredDtype } from '../checkpoint/types.ts';

/** Types that values can be written as. */
export type FloatDtype = Extract<StoredDtype, 'F32' | 'F16' | 'BF16'>;

/** The bytes of values as they are stored. Numbers beyond the type's largest become infinite. */
export function narrow(values: Float32Array, dtype: FloatDtype): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  const half = dtype === 'F16' ? toHalf : toBrain;
  for (let i = 0; i < bits.length; i++) out[i] = half(bits[i]);
  return new Uint8Array(out.buffer);
}

/** The upper half of a float32. */
function toBrain(bits: number): number {
  const isNone = (bits & 0x7fffffff) > 0x7f800000;
  if (isNone) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

function toHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const size = bits & 0x7fffffff;
  if (size > 0x7f800000) return sign | 0x7e00;
  if (size >= 0x477ff000) return sign | 0x7c00; // rounds beyond 65504
  if (size < 0x33000001) return sign; // rounds to zero
  const exponent = size >>> 23;
  // Below 2^-14 halves are multiples of 2^-24: the leading one, no longer implied, moves right.
  const shift = exponent < 113 ? 126 - exponent : 13;
  const mantissa = exponent < 113 ? (size & 0x7fffff) | 0x800000 : size - 0x38000000;
  const kept = mantissa >>> shift;
  const rest = mantissa & ((1 << shift) - 1);
  const tie = 1 << (shift - 1);
  return sign | (kept + (rest > tie || (rest === tie && (kept & 1) === 1) ? 1 : 0));
}
