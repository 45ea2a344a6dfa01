/**
 * exp of numbers that are at most 0.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { expOfNegative, sumOfExp } from './exp.ts';

it('is Math.exp but for 1e-12', () => {
  fc.assert(
    fc.property(fc.double({ min: -100, max: 0, noNaN: true }), (x) => {
      expect(Math.abs(expOfNegative(x) / Math.exp(x) - 1)).toBeLessThan(1e-12);
    }),
  );
  for (const x of [0, -0, -45, -45.001, -700, -Infinity]) expect(expOfNegative(x)).toBeCloseTo(Math.exp(x), 15);
  expect(expOfNegative(0)).toBe(1);
  expect(expOfNegative(Number.NaN)).toBeNaN();
});

it('sums like Math.exp, and tells what is no number', () => {
  const logits = fc.array(fc.float({ min: -60, max: 60, noNaN: true }), { minLength: 1, maxLength: 300 });
  fc.assert(
    fc.property(logits, (values) => {
      const max = Math.max(...values);
      const expected = values.reduce((sum, value) => sum + Math.exp(value - max), 0);
      expect(Math.abs(sumOfExp(Float32Array.from(values), max) / expected - 1)).toBeLessThan(1e-12);
    }),
  );
  expect(sumOfExp(Float32Array.of(-Infinity, 0), 0)).toBe(1);
  expect(sumOfExp(Float32Array.of(Number.NaN, 0), 0)).toBeNaN();
  expect(sumOfExp(Float32Array.of(Infinity, 0), Infinity)).toBeNaN();
});
