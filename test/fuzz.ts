/**
 * @file `npm run fuzz [COUNT] [SEED]`: that many damaged GGUF files, 50,000 by default, each of which must be opened or refused by a typed
 * error. What is neither is printed with its seed and ends the run.
 */
import { damagedGguf, openDamaged } from './support/gguf-mutations.ts';
import { seeded } from './support/seeded.ts';

const count = Number(process.argv[2] ?? 50_000);
const first = Number(process.argv[3] ?? 1);
let opened = 0;
let slowest = 0;
for (let i = 0; i < count; i++) {
  const start = performance.now();
  try {
    if ((await openDamaged(damagedGguf(seeded(first + i)))) === 'opened') opened++;
  } catch (error) {
    process.stderr.write(`seed ${first + i}: ${(error as Error).stack}\n`);
    process.exitCode = 1;
    break;
  }
  slowest = Math.max(slowest, performance.now() - start);
}
process.stdout.write(
  `${count} files from seed ${first} on: ${opened} opened, the others refused; slowest ${slowest.toFixed(0)} ms\n`,
);
