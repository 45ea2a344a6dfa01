/**
 * @file `npm run bench:opening -- MODEL [--rounds N] [--against FILES]`: how long the first opening of a model takes,
 * in a new process with an empty folder of prepared weights, until the model is ready and until it has written a token.
 * The model's file is in the system's cache. Other builds of the library (their `node.js`, separated by commas) are
 * opened in turns with this one.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { Command } from 'commander';

type Library = typeof import('../src/node.ts');

const OWN = join(import.meta.dirname, '../src/node.js');
const CHILD = 'one-opening';

const [, , kind, ...rest] = process.argv;
if (kind === CHILD) await openOnce(rest as [string, string, string]);
else compare();

/** Prints milliseconds until the model is ready, and until it has written a token. */
async function openOnce([library, model, cacheDir]: [string, string, string]): Promise<void> {
  const { loadModel } = (await import(pathToFileURL(library).href)) as Library;
  const start = performance.now();
  const loaded = await loadModel(model, { cacheDir });
  const ready = performance.now();
  await loaded.generate('Hello', { maxNewTokens: 1 }).result();
  process.stdout.write(JSON.stringify([ready - start, performance.now() - start]));
  await loaded.dispose();
}

function compare(): void {
  const options = new Command('bench:opening')
    .argument('<model>', 'a GGUF file or a folder')
    .option('--rounds <n>', 'openings of each build', '7')
    .option('--against <files>', 'node.js of other builds, separated by commas', '')
    .parse();
  const [model] = options.args as [string];
  const { rounds, against } = options.opts<{ rounds: string; against: string }>();
  const libraries = [OWN, ...against.split(',').filter((file) => file !== '')];
  const times = libraries.map((): number[][] => []);
  for (let round = 0; round <= Number(rounds); round++)
    for (const [i, library] of libraries.entries()) {
      const cacheDir = mkdtempSync(join(tmpdir(), 'keyhold-opening-'));
      const args = [fileURLToPath(import.meta.url), CHILD, library, model, cacheDir];
      const taken = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as number[];
      rmSync(cacheDir, { recursive: true });
      // The first round brings files into the system's cache.
      if (round > 0) times[i]!.push(taken);
    }
  for (const [i, library] of libraries.entries()) {
    const [ready, token] = [0, 1].map((which) => shown(times[i]!.map((taken) => taken[which]!)));
    process.stdout.write(`${library}: ready after ${ready}, first token after ${token}\n`);
  }
}

/** Median, least and most, in whole milliseconds. */
function shown(times: readonly number[]): string {
  const sorted = times.map(Math.round).sort((a, b) => a - b);
  return `${sorted[sorted.length >> 1]} ms (${sorted[0]} to ${sorted.at(-1)})`;
}
