import { expect, it } from 'vitest';
import { FUZZERS } from './support/fuzzers.ts';
import { seeded } from './support/seeded.ts';

/** A short run; `npm run fuzz` makes longer ones. */
const RUNS = 400;
const SEED = 20261128;

it.each(Object.keys(FUZZERS))(
  'damaged files are opened or refused by a typed error: %s',
  { timeout: 300_000 },
  async (name) => {
    const counts = { opened: 0, refused: 0 };
    for (let run = 0; run < RUNS; run++)
      try {
        counts[await FUZZERS[name](seeded(SEED + run))]++;
      } catch (cause) {
        throw new Error(`seed ${SEED + run}`, { cause });
      }
    // Both must occur, or the damage tests nothing.
    expect(Math.min(counts.opened, counts.refused)).toBeGreaterThan(RUNS / 50);
  },
);
