/**
 * @file Numbers as checkpoints and caches store them: widened to float32, in bulk, and narrowed from it, rounded to the
 * nearest (ties to even), as the training libraries do.
 *
 * Stored numbers are little-endian, as every machine that the engines run on.
 */
import { DTYPE_BYTES, type StoredDtype } from './dtypes.ts';
import { lazy } from './once.ts';

/** The bits of the float32 that equals the half with bits `half`; NaN keeps its sign and payload. */
function halfBits(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (mantissa << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (mantissa << 13);
  if (mantissa === 0) return sign;
  // A subnormal half is a normal float32: shift its leading one into the hidden bit.
  const shift = Math.clz32(mantissa) - 21;
  return sign | ((113 - shift) << 23) | (((mantissa << shift) & 0x3ff) << 13);
}

/** The float32 bits of each of the 65536 halves; made at first use, since many checkpoints hold none. */
const table = lazy(() => {
  const bits = new Uint32Array(65536);
  for (let half = 0; half < bits.length; half++) bits[half] = halfBits(half);
  return bits;
});

/** The value of each of the 65536 halves, by its bits. */
export const halfValues = lazy(() => new Float32Array(table().buffer));

const float8Tables = new Map<StoredDtype, Float32Array>();

/** The value of each byte: E4M3 has no infinity (0x7f and 0xff are NaN), E5M2 has them, E8M0 is a power of two. */
function float8Values(dtype: 'F8_E4M3' | 'F8_E5M2' | 'F8_E8M0'): Float32Array {
  const known = float8Tables.get(dtype);
  if (known) return known;
  const made = Float32Array.from({ length: 256 }, (_, byte) => {
    if (dtype === 'F8_E8M0') return byte === 255 ? Number.NaN : 2 ** (byte - 127);
    // E5M2 is the upper half of a float16.
    if (dtype === 'F8_E5M2') return halfValues()[byte << 8];
    const exponent = (byte >> 3) & 15;
    const mantissa = byte & 7;
    const size = exponent === 0 ? mantissa * 2 ** -9 : (1 + mantissa / 8) * 2 ** (exponent - 7);
    if ((byte & 127) === 127) return Number.NaN;
    return byte & 128 ? -size : size;
  });
  float8Tables.set(dtype, made);
  return made;
}

/**
 * Widens all whole elements of `bytes` into `out`, from `outStart` on.
 *
 * F64 and the large integers (I64, I32, U32) are rounded to the nearest float32; everything else is exact, NaN payloads
 * of halves included.
 *
 * @throws RangeError where `out` is too short; callers size it.
 */
export function widenInto(dtype: StoredDtype, bytes: Uint8Array, out: Float32Array, outStart = 0): void {
  const size = DTYPE_BYTES[dtype];
  const count = Math.floor(bytes.byteLength / size);
  if (outStart + count > out.length) throw new RangeError('widenInto: the output is too short');
  // Typed views need aligned starts, which a slice of a file does not promise.
  const aligned = bytes.byteOffset % size === 0 ? bytes : bytes.slice();
  const { buffer, byteOffset } = aligned;
  switch (dtype) {
    case 'F32':
      // By bytes, not by values: this keeps NaN payloads and is one memory copy.
      new Uint8Array(out.buffer, out.byteOffset + outStart * 4, count * 4).set(aligned.subarray(0, count * 4));
      return;
    case 'F16': {
      const halves = new Uint16Array(buffer, byteOffset, count);
      const bits = new Uint32Array(out.buffer, out.byteOffset + outStart * 4, count);
      const lookup = table();
      for (let i = 0; i < count; i++) bits[i] = lookup[halves[i]];
      return;
    }
    case 'BF16': {
      const halves = new Uint16Array(buffer, byteOffset, count);
      const bits = new Uint32Array(out.buffer, out.byteOffset + outStart * 4, count);
      for (let i = 0; i < count; i++) bits[i] = halves[i] << 16;
      return;
    }
    case 'F8_E4M3':
    case 'F8_E5M2':
    case 'F8_E8M0': {
      const lookup = float8Values(dtype);
      for (let i = 0; i < count; i++) out[outStart + i] = lookup[aligned[i]];
      return;
    }
    case 'F64':
      out.set(new Float64Array(buffer, byteOffset, count), outStart);
      return;
    case 'I64': {
      // Two 32-bit halves rather than BigInt, which would allocate per element.
      const words = new Int32Array(buffer, byteOffset, count * 2);
      for (let i = 0; i < count; i++) out[outStart + i] = words[2 * i + 1] * 4294967296 + (words[2 * i] >>> 0);
      return;
    }
    case 'I32':
      out.set(new Int32Array(buffer, byteOffset, count), outStart);
      return;
    case 'U32':
      out.set(new Uint32Array(buffer, byteOffset, count), outStart);
      return;
    case 'U16':
      out.set(new Uint16Array(buffer, byteOffset, count), outStart);
      return;
    case 'I16':
      out.set(new Int16Array(buffer, byteOffset, count), outStart);
      return;
    case 'I8':
      out.set(new Int8Array(buffer, byteOffset, count), outStart);
      return;
    case 'U8':
      out.set(aligned, outStart);
      return;
    case 'BOOL':
      for (let i = 0; i < count; i++) out[outStart + i] = aligned[i] === 0 ? 0 : 1;
      return;
  }
}

/** Types that values can be written as. */
export type FloatDtype = Extract<StoredDtype, 'F32' | 'F16' | 'BF16'>;

/** The bytes of values as they are stored. Numbers beyond the type's largest become infinite. */
export function narrow(values: Float32Array, dtype: FloatDtype): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const out = new Uint16Array(values.length);
  const narrowed = dtype === 'F16' ? toFloat16 : toBfloat16;
  for (let i = 0; i < bits.length; i++) out[i] = narrowed(bits[i]);
  return new Uint8Array(out.buffer);
}

/** The bfloat16 of float32 bits: their upper half. */
function toBfloat16(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40; // stays NaN
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** The float16 of float32 bits. */
export function toFloat16(bits: number): number {
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

/** The bfloat16 nearest to a number, as a number. */
export function roundToBfloat16(x: number): number {
  const [bits] = new Uint32Array(Float32Array.of(x).buffer);
  const [rounded] = new Float32Array(Uint32Array.of(toBfloat16(bits) << 16).buffer);
  return rounded;
}
