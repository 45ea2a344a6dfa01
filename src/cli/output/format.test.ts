import { describe, expect, it } from 'vitest';
import { bytes, counted, duration, parameters, ranges, rate, whole } from './format.ts';

describe('numbers for people', () => {
  it('bytes', () => {
    const texts = [0, 999, 1000, 393_216, 999_499, 999_500, 10_563_984, 2.718e9, 5e15].map(bytes);
    expect(texts).toEqual([
      '0 bytes',
      '999 bytes',
      '1.00 kB',
      '393 kB',
      '999 kB',
      '1.00 MB',
      '10.6 MB',
      '2.72 GB',
      '5000 TB',
    ]);
  });

  it('parameters', () => {
    expect([512, 5_280_000, 1.236e9].map(parameters)).toEqual(['512', '5.28M', '1.24B']);
  });

  it('counts', () => {
    expect(whole(4096)).toBe('4,096');
    expect([0, 1, 2000].map((n) => counted(n, 'token'))).toEqual(['0 tokens', '1 token', '2,000 tokens']);
  });

  it('durations', () => {
    const texts = [0.4, 12, 999, 999.9, 3400, 9990, 59_600, 125_000, 3_725_000].map(duration);
    expect(texts).toEqual([
      '0 ms',
      '12 ms',
      '999 ms',
      '1.0 s',
      '3.4 s',
      '10 s',
      '1 min 00 s',
      '2 min 05 s',
      '1 h 02 min',
    ]);
  });

  it('rates', () => {
    expect([0.421, 28.34, 438.2, Number.NaN].map(rate)).toEqual(['0.42', '28.3', '438', '-']);
  });

  it('ranges', () => {
    expect(
      ranges([
        [0, 3],
        [7, 7],
        [1000, 1100],
      ]),
    ).toBe('0–3, 7, 1,000–1,100');
  });
});
