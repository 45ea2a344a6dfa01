import { expect, it } from 'vitest';
import { engine } from './support/engine-fuzzer.ts';
import { seeded } from './support/seeded.ts';

/** A short run; `npm run fuzz engine` makes longer ones. */
const RUNS = 60;
const SEED = 20261129;

it('models of odd shapes run with odd options or are refused by a typed error, and the process lives', {
  timeout: 300_000,
}, async () => {
  const counts = { opened: 0, refused: 0 };
  for (let run = 0; run < RUNS; run++) counts[await engine(seeded(SEED + run))]++;
  expect(Math.min(counts.opened, counts.refused)).toBeGreaterThan(RUNS / 20);
});
