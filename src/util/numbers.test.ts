import { describe, expect, it } from 'vitest';
import { normalQuantile } from './numbers.ts';

describe('normalQuantile', () => {
  // Of Python's statistics.NormalDist().inv_cdf.
  it.each([
    [0.5, 0],
    [0.95, 1.6448536269514715],
    [0.05, -1.6448536269514715],
    [0.999, 3.090232306167813],
    [1e-6, -4.753424308822899],
  ])('of %d', (p, x) => {
    expect(normalQuantile(p)).toBeCloseTo(x, 8);
  });
});
