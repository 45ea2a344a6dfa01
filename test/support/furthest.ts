/** @file How far numbers are from those that they should be: the largest difference. */

/** NaN, which no bound holds for, where a difference is NaN or there are more numbers of one than of the other. */
export const furthest = (a: ArrayLike<number>, b: ArrayLike<number>): number =>
  a.length === b.length ? Array.from(a, (x, i) => Math.abs(x - b[i])).reduce((most, x) => Math.max(most, x), 0) : NaN;
