import { expect, it } from 'vitest';
import { damagedGguf, openDamaged } from '../../../test/support/gguf-mutations.ts';
import { seeded } from '../../../test/support/seeded.ts';

it('a damaged file is opened, or refused by a typed error', { timeout: 60_000 }, async () => {
  const random = seeded(1);
  const refusals = new Set<string>();
  let opened = 0;
  for (let i = 0; i < 2000; i++) {
    const result = await openDamaged(damagedGguf(random));
    if (result === 'opened') opened++;
    else refusals.add(result.replace(/\d+|".*?"/g, '#').slice(0, 60));
  }
  // Neither all, nor none; and for many different reasons.
  expect(opened).toBeGreaterThan(200);
  expect(opened).toBeLessThan(1800);
  expect(refusals.size).toBeGreaterThan(25);
});
