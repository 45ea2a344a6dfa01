/**
 * @file `npm run fuzz [KIND] [COUNT] [SEED]`: that many damaged files (5,000 by default) of a kind or of every kind,
 * each of which must be opened or refused by a typed error. The kind `engine` runs models of odd shapes with odd
 * options in a process of its own. What is neither is printed with its seed and ends the run.
 */
import { engine } from './support/engine-fuzzer.ts';
import { FUZZERS as FILES, type Fuzzer } from './support/fuzzers.ts';
import { seeded } from './support/seeded.ts';

const FUZZERS = { ...FILES, engine };
const [kind = 'all', count = '5000', first = '1'] = process.argv.slice(2);
const names = kind === 'all' ? Object.keys(FUZZERS) : [kind];
for (const name of names) {
  const fuzzer = (FUZZERS as Readonly<Record<string, Fuzzer>>)[name];
  if (!fuzzer) {
    process.stderr.write(`there is no fuzzer ${name}; there are all, ${Object.keys(FUZZERS).join(', ')}\n`);
    process.exit(1);
  }
  let opened = 0;
  let slowest = 0;
  for (let i = 0; i < Number(count); i++) {
    const start = performance.now();
    try {
      if ((await fuzzer(seeded(Number(first) + i))) === 'opened') opened++;
    } catch (error) {
      process.stderr.write(`${name}, seed ${Number(first) + i}: ${(error as Error).stack}\n`);
      process.exitCode = 1;
      break;
    }
    slowest = Math.max(slowest, performance.now() - start);
  }
  process.stdout.write(
    `${name}: ${count} files from seed ${first} on: ${opened} opened, slowest ${slowest.toFixed(0)} ms\n`,
  );
}
