import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { nearestHalf } from '../../../test/support/reference-store.ts';
import { widenInto } from '../../util/half.ts';
import { floatToHalf, halfToFloat } from './float16.ts';

/** The bits of a number in float32. */
const bitsOf = (x: number): number => new Uint32Array(Float32Array.of(x).buffer)[0];
const floatOf = (bits: number): number => new Float32Array(Uint32Array.of(bits).buffer)[0];

describe('halves', () => {
  it('are what the bits say, all 65,536 of them', () => {
    const halves = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const expected = new Float32Array(65536);
    // The reader of checkpoints works on bits; this one on numbers.
    widenInto('F16', new Uint8Array(halves.buffer), expected);
    for (const half of halves) expect(Object.is(halfToFloat(half), expected[half]), `half ${half}`).toBe(true);
    expect(halfToFloat(0x3c00)).toBe(1);
    expect(halfToFloat(0xc000)).toBe(-2);
    expect(halfToFloat(0x7bff)).toBe(65504);
    expect(halfToFloat(0x0400)).toBe(2 ** -14);
    expect(halfToFloat(0x0001)).toBe(2 ** -24);
    expect(halfToFloat(0x7c00)).toBe(Infinity);
    expect(halfToFloat(0xfc00)).toBe(-Infinity);
    expect(halfToFloat(0x7e00)).toBeNaN();
  });

  it('survive the way there and back', () => {
    for (let half = 0; half < 65536; half++) {
      const again = floatToHalf(halfToFloat(half));
      const exponent = (half >> 10) & 0x1f;
      // What is infinite becomes the largest, and NaN one of its kind.
      if (exponent < 31) expect(again).toBe(half);
      else if ((half & 0x3ff) === 0) expect(again).toBe((half & 0x8000) | 0x7bff);
      else expect(halfToFloat(again)).toBeNaN();
    }
  });

  it('are the nearest, ties to even: between any two neighbours', () => {
    for (let half = 0; half < 0x7bff; half++) {
      const [low, high] = [halfToFloat(half), halfToFloat(half + 1)];
      const middle = (low + high) / 2; // exact in float32
      const even = half % 2 === 0 ? half : half + 1;
      for (const [sign, negative] of [
        [1, 0],
        [-1, 0x8000],
      ]) {
        if (floatToHalf(sign * middle) !== (even | negative)) expect.fail(`${sign * middle}`);
        if (floatToHalf(sign * floatOf(bitsOf(middle) + 1)) !== half + 1 + negative) expect.fail(`above ${middle}`);
        if (floatToHalf(sign * floatOf(bitsOf(middle) - 1)) !== (half | negative)) expect.fail(`below ${middle}`);
      }
    }
  });

  it('are the nearest of any number, and never infinite', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true }), (x) => {
        const half = halfToFloat(floatToHalf(x));
        if (Math.abs(x) > 65504) expect(half).toBe(Math.sign(x) * 65504);
        else expect(half === nearestHalf(x)).toBe(true);
      }),
      { numRuns: 2000, seed: 1 },
    );
    expect(Object.is(halfToFloat(floatToHalf(-0)), -0)).toBe(true);
    expect(halfToFloat(floatToHalf(Number.NaN))).toBeNaN();
    expect(floatToHalf(65519.99)).toBe(0x7bff);
    expect(floatToHalf(1e30)).toBe(0x7bff);
    expect(floatToHalf(2 ** -25)).toBe(0);
    expect(floatToHalf(2 ** -25 * 1.0001)).toBe(1);
    expect(floatToHalf(1e-45)).toBe(0);
  });
});
