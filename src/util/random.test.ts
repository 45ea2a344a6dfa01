import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from './errors.ts';
import { Random, type RandomState } from './random.ts';

const MASK = (1n << 32n) - 1n;

/** sfc32 as its author wrote it, on big integers. */
function* sfc32([a, b, c, counter]: RandomState): Generator<bigint> {
  let state = [BigInt(a), BigInt(b), BigInt(c), BigInt(counter)];
  for (;;) {
    const [x, y, z, n] = state;
    const out = (x + y + n) & MASK;
    state = [y ^ (y >> 9n), (z + (z << 3n)) & MASK, (((z << 21n) | (z >> 11n)) + out) & MASK, (n + 1n) & MASK];
    yield out;
  }
}

describe('Random', () => {
  it('is sfc32 from the state that a seed gives', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), (seed) => {
        const random = new Random(seed);
        const bits = sfc32(random.state);
        for (let i = 0; i < 20; i++) {
          const high = bits.next().value >> 5n;
          const low = bits.next().value >> 6n;
          expect(random.next()).toBe(Number((high << 26n) | low) / 2 ** 53);
        }
      }),
    );
  });

  it('gives the same numbers for a seed today and tomorrow', () => {
    const random = new Random(42);
    expect([random.next(), random.next(), random.next()]).toEqual([
      0.7742171436873477, 0.9061763916335438, 0.5110379326582832,
    ]);
  });

  it('tells near seeds and large seeds apart', () => {
    const seeds = [0, 1, 2, 2 ** 32, 2 ** 32 + 1, 2 ** 33, Number.MAX_SAFE_INTEGER];
    expect(new Set(seeds.map((seed) => new Random(seed).next())).size).toBe(seeds.length);
  });

  it('is even over 64 bins', () => {
    const random = new Random(7);
    const bins = new Float64Array(64);
    const n = 64_000;
    for (let i = 0; i < n; i++) bins[Math.floor(random.next() * 64)]++;
    const chiSquare = bins.reduce((sum, count) => sum + (count - n / 64) ** 2 / (n / 64), 0);
    // 63 degrees of freedom: 99.9 % lie below 103.4.
    expect(chiSquare).toBeLessThan(103.4);
  });

  it('has a seed of its own where none is given', () => {
    expect(new Random().next()).not.toBe(new Random().next());
  });

  it.each([-1, 1.5, Number.NaN, 2 ** 53, Infinity])('refuses the seed %s', (seed) => {
    expect(() => new Random(seed)).toThrow(InputError);
    expect(() => new Random(seed)).toThrow(`seed must be a whole number of at least 0, but is ${seed}`);
  });
});
