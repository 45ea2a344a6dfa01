import { describe, expect, it } from 'vitest';
import type { StoredDtype } from '../checkpoint/types.ts';
import { widenInto } from './half.ts';

function widen(dtype: StoredDtype, bytes: ArrayBuffer | Uint8Array): number[] {
  const view = bytes instanceof Uint8Array ? bytes : new Uint8Array(bytes);
  const out = new Float32Array(64);
  widenInto(dtype, view, out);
  return [...out];
}

/** The value of a half by the definition of IEEE 754, without bit tricks. */
function halfByDefinition(half: number): number {
  const sign = half >> 15 ? -1 : 1;
  const exponent = (half >> 10) & 31;
  const fraction = half & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return exponent === 0 ? sign * 2 ** -24 * fraction : sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}

describe('widenInto', () => {
  it('agrees with the definition on all 65536 halves', () => {
    const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const out = new Float32Array(65536);
    widenInto('F16', new Uint8Array(halves.buffer), out);
    for (let i = 0; i < 65536; i++) if (!Object.is(out[i], halfByDefinition(i))) expect.fail(`half ${i}: ${out[i]}`);
  });

  it('knows the landmarks of halves', () => {
    const known = [0x0000, 0x8000, 0x3c00, 0xc000, 0x7bff, 0x0400, 0x03ff, 0x0001, 0x7c00, 0xfc00, 0x3555];
    expect(widen('F16', Uint16Array.from(known).buffer).slice(0, known.length)).toEqual([
      0,
      -0,
      1,
      -2,
      65504,
      2 ** -14,
      1023 * 2 ** -24,
      2 ** -24,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      0.333251953125,
    ]);
    expect(widen('F16', Uint16Array.of(0x7e00, 0xfc01).buffer).slice(0, 2)).toEqual([Number.NaN, Number.NaN]);
  });

  it('keeps the sign and payload of NaN', () => {
    const out = new Float32Array(2);
    widenInto('F16', new Uint8Array(Uint16Array.of(0xfe01, 0x7c01).buffer), out);
    expect([...new Uint32Array(out.buffer)]).toEqual([0xffc02000, 0x7f802000]);
    widenInto('BF16', new Uint8Array(Uint16Array.of(0xffc1, 0x7f81).buffer), out);
    expect([...new Uint32Array(out.buffer)]).toEqual([0xffc10000, 0x7f810000]);
  });

  it('reads bfloat16 as the upper half of float32', () => {
    const known = [0x3f80, 0xc000, 0x0001, 0x7f80, 0xff80, 0x8000, 0x4049, 0x7f7f];
    expect(widen('BF16', Uint16Array.from(known).buffer).slice(0, 8)).toEqual([
      1,
      -2,
      2 ** -133,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      -0,
      3.140625,
      Math.fround(3.3895313892515355e38),
    ]);
  });

  it('copies float32 and rounds float64', () => {
    expect(widen('F32', Float32Array.of(1.5, -0, 1e-45).buffer).slice(0, 3)).toEqual([1.5, -0, Math.fround(1e-45)]);
    expect(widen('F64', Float64Array.of(0.1, 1e300, -1e-300).buffer).slice(0, 3)).toEqual([
      Math.fround(0.1),
      Number.POSITIVE_INFINITY,
      -0,
    ]);
  });

  it('reads integers and booleans', () => {
    const big = [0n, -1n, 2n ** 53n, -(2n ** 63n), 2n ** 63n - 1n, 4294967295n, -4294967296n];
    expect(widen('I64', BigInt64Array.from(big).buffer).slice(0, 7)).toEqual(big.map((n) => Math.fround(Number(n))));
    expect(widen('I32', Int32Array.of(-7, 2 ** 31 - 1).buffer).slice(0, 2)).toEqual([-7, 2 ** 31]);
    expect(widen('I16', Int16Array.of(-32768, 5).buffer).slice(0, 2)).toEqual([-32768, 5]);
    expect(widen('I8', Int8Array.of(-128, 127).buffer).slice(0, 2)).toEqual([-128, 127]);
    expect(widen('U8', Uint8Array.of(255, 0)).slice(0, 2)).toEqual([255, 0]);
    expect(widen('BOOL', Uint8Array.of(1, 0, 2)).slice(0, 3)).toEqual([1, 0, 1]);
  });

  it('reads from odd offsets and writes to where it is told', () => {
    const bytes = new Uint8Array(17);
    bytes.set(new Uint8Array(Uint16Array.of(0x3c00, 0x4000).buffer), 1);
    const out = new Float32Array(4).fill(9);
    widenInto('F16', bytes.subarray(1, 5), out.subarray(1), 1);
    expect([...out]).toEqual([9, 9, 1, 2]);
    new DataView(bytes.buffer).setFloat64(3, 0.25, true);
    widenInto('F64', bytes.subarray(3, 11), out);
    expect(out[0]).toBe(0.25);
  });

  it('refuses to write past the end', () => {
    expect(() => widenInto('U8', new Uint8Array(5), new Float32Array(4))).toThrow(RangeError);
    expect(() => widenInto('U8', new Uint8Array(2), new Float32Array(4), 3)).toThrow(RangeError);
  });
});
