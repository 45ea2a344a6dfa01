/**
 * @file `npm run soak:loads [COUNT]`: loads a model, generates a few tokens and disposes of it, 200 times. In the end
 * nothing native is open, and resident memory is what it was after the first third.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nativeCounts } from '../src/backends/ggml/binding/native.ts';
import { loadModel } from '../src/node.ts';

const COUNT = Number(process.argv[2] ?? 200);
/** From here on memory may not grow by more than this share. */
const WARM = 0.3;
const GROWTH = 0.1;
const WEIGHTS = ['float32', 'int8', 'q4_0'] as const;
const POLICIES = ['dense', 'lastrec', 'h2o', 'keydiff'];

const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-soak-'));
const folder = join(import.meta.dirname, '../models/tiny');
let warm = 0;
let peak = 0;
try {
  console.log('loads   resident   heap   native');
  for (let n = 1; n <= COUNT; n++) {
    {
      await using model = await loadModel(folder, { weights: WEIGHTS[n % WEIGHTS.length], cacheDir });
      const cache = { policy: POLICIES[n % POLICIES.length], cacheLength: 64 };
      await model.generate('In the beginning', { cache, maxNewTokens: 4 }).result();
    }
    if (n % 20 > 0) continue;
    globalThis.gc?.();
    const { rss, heapUsed } = process.memoryUsage();
    const native = Object.values(nativeCounts()).reduce((sum, count) => sum + count, 0);
    console.log(`${n}   ${(rss / 1e6).toFixed(0)} MB   ${(heapUsed / 1e6).toFixed(1)} MB   ${native}`);
    if (native > 0) throw new Error(`${JSON.stringify(nativeCounts())} are open after load ${n}`);
    if (n <= COUNT * WARM) warm = Math.max(warm, rss);
    else peak = Math.max(peak, rss);
  }
  const growth = peak / warm - 1;
  console.log(`growth after ${WARM * COUNT} loads: ${(100 * growth).toFixed(1)} %`);
  if (!(growth <= GROWTH)) process.exitCode = 1;
} finally {
  await rm(cacheDir, { recursive: true, force: true });
}
