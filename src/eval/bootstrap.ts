/**
 * @file How sure a mean is: bootstrap intervals.
 */
import { checkList } from '../util/arguments.ts';
import { Random } from '../util/random.ts';

/** The ends of an interval. */
export type Interval = readonly [low: number, high: number];

const RESAMPLES = 1000;
/** Samples of fewer values are too much alike: of two equal ones the interval would be a point. */
const FEWEST = 5;
/** Each end leaves 2.5 % out: 95 % lie within. */
const TAIL = 0.025;

/**
 * The 95 % interval of a mean, by the percentiles of means of samples that are drawn from the values with replacement
 * (1,000 of them, the same for the same values).
 * @param values independent of each other, as nearly as can be: cases, or chunks of text.
 * @returns null for fewer than 5 values.
 * @throws InputError for what is no list of numbers.
 */
export function meanInterval(values: readonly number[]): Interval | null {
  checkList('meanInterval', 'a list of numbers', values, (value) => typeof value === 'number');
  const n = values.length;
  if (n < FEWEST) return null;
  const random = new Random(1);
  const means = new Float64Array(RESAMPLES);
  for (let i = 0; i < RESAMPLES; i++) {
    let sum = 0;
    for (let j = 0; j < n; j++) sum += values[Math.floor(random.next() * n)];
    means[i] = sum / n;
  }
  means.sort();
  return [means[Math.floor(TAIL * RESAMPLES)], means[Math.ceil((1 - TAIL) * RESAMPLES) - 1]];
}
