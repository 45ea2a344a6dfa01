/**
 * @file `npm run soak`: writes 5,000 tokens under a small budget, and fails where memory goes on growing.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { loadModel } from '../src/node.ts';

const TOKENS = 5000;
const BUDGET = 256;
const EVERY = 500;
/** From here on memory may not grow by more than this share. */
const WARM = 1000;
const GROWTH = 0.1;

const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-soak-'));
let failed = false;
try {
  await using model = await loadModel(join(import.meta.dirname, '../models/tiny'), {
    weights: 'float32',
    cacheDir,
    generationConfig: false,
  });
  const cache = model.createCache({ policy: 'lastrec', cacheLength: BUDGET });
  const generation = model.generate('In the beginning', {
    cache,
    maxNewTokens: TOKENS,
    eosTokenIds: [],
    temperature: 1,
    seed: 1,
  });
  let written = 0;
  let warm = 0;
  let next = EVERY;
  console.log('tokens   resident   heap   cache (keys and values / bookkeeping)');
  for await (const piece of generation) {
    written += piece.tokens.length;
    const { held } = cache.stats();
    if (held[0] > BUDGET) throw new Error(`${held[0]} slots are held after ${written} tokens`);
    if (written < next) continue;
    next += EVERY;
    // What is only garbage is no growth.
    globalThis.gc?.();
    const { rss, heapUsed } = process.memoryUsage();
    const { keysAndValues, bookkeeping } = cache.memory();
    console.log(
      `${String(written).padStart(6)} ${megabytes(rss)} ${megabytes(heapUsed)}   ${keysAndValues} / ${bookkeeping} bytes`,
    );
    if (written >= WARM) warm ||= rss;
    if (warm > 0 && rss > warm * (1 + GROWTH)) failed = true;
  }
  const { tokens, timings } = await generation.result();
  const { decodeMs } = timings;
  console.log(`${tokens.length} tokens, ${((tokens.length / decodeMs) * 1000).toFixed(0)} a second`);
  if (tokens.length !== TOKENS) throw new Error(`${tokens.length} tokens were written instead of ${TOKENS}`);
  if (failed) console.error(`resident memory grew by more than ${GROWTH * 100} % after the first ${WARM} tokens`);
} finally {
  await rm(cacheDir, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`.padStart(10);
}
