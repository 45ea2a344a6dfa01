/**
 * @file Widening of stored numbers to float32, in bulk.
 *
 * Stored numbers are little-endian, and so is every machine that ONNX Runtime's JavaScript packages run on.
 */
import type { StoredDtype } from '../checkpoint/types.ts';

/** Bytes per element of each stored type. */
export const DTYPE_BYTES: Readonly<Record<StoredDtype, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  F8_E8M0: 1,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
};

/** The float32 bits of each of the 65536 halves; made at first use, since many checkpoints hold none. */
let halfTable: Uint32Array | undefined;

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

function table(): Uint32Array {
  if (halfTable === undefined) {
    halfTable = new Uint32Array(65536);
    for (let half = 0; half < 65536; half++) halfTable[half] = halfBits(half);
  }
  return halfTable;
}

/** The value of each of the 65536 halves, by its bits. */
export function halfValues(): Float32Array {
  return new Float32Array(table().buffer);
}

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
 * F64 and the large integers (I64, I32, U32) are rounded to the nearest float32; everything else is exact, NaN payloads of halves included.
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
