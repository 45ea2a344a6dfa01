/**
 * @file exp of many numbers that are at most 0, in double precision: half the time of `Math.exp`.
 */

/** exp(x) = exp(-i / 64) · exp(r), with |r| ≤ 1/128. */
const PARTS = 64;
/** Below it `Math.exp` is asked: a softmax of 10^5 logits does not see what is left. */
const LEAST_EXPONENT = -45;
/** exp(-i / 64); zeros until the first call. */
const powers = new Float64Array(-LEAST_EXPONENT * PARTS + 2);

function fillPowers(): void {
  for (let i = 0; i < powers.length; i++) powers[i] = Math.exp(-i / PARTS);
}

/** @param x from {@link LEAST_EXPONENT} to 0, or NaN. The powers must be there. */
function interpolated(x: number): number {
  const i = (0.5 - x * PARTS) | 0;
  const r = x + i / PARTS;
  return powers[i] * (1 + r * (1 + r * (1 / 2 + r * (1 / 6 + r * (1 / 24)))));
}

/** @param x at most 0. @returns exp(x) with a relative error below 1e-12; NaN for NaN. */
export function expOfNegative(x: number): number {
  if (x < LEAST_EXPONENT) return Math.exp(x);
  if (powers[0] === 0) fillPowers();
  return interpolated(x);
}

/** The sum of exp(value - max) over all values. @param max at least the largest of them. */
export function sumOfExp(values: Float32Array, max: number): number {
  if (powers[0] === 0) fillPowers();
  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    const x = values[i] - max;
    if (!(x < LEAST_EXPONENT)) sum += interpolated(x);
  }
  return sum;
}
