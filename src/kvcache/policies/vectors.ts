/**
 * @file Arithmetic on single keys and values, in float64.
 */

/** ‖x‖₂ */
export function lengthOf(x: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += x[i] * x[i];
  return Math.sqrt(sum);
}
