import { describe, expect, it } from 'vitest';
import { scoredAtOnce } from './chunk-schedule.ts';

describe('scoredAtOnce', () => {
  it.each([
    [97, 43_200],
    [16_384, 256],
    [32_000, 128],
    [49_152, 64],
    [151_936, 64],
    [262_144, 64],
  ])('is of a vocabulary of %i as many whole 64 rows as take 16 MB, and 64 at least', (vocabSize, rows) => {
    expect(scoredAtOnce(vocabSize)).toBe(rows);
    if (rows > 64) expect(rows * 4 * vocabSize).toBeLessThanOrEqual(2 ** 24);
  });
});
