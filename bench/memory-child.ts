/**
 * @file One run in a process of its own: loads a model, reads a prompt, writes some tokens, and tells what memory that
 * took at most.
 */
import { readFileSync } from 'node:fs';
import { loadModel } from '../src/node.ts';
import { type MemoryJob, shapeOf } from './memory-job.ts';
import { promptTokens } from './protocol.ts';
import { randomCheckpoint } from './random-checkpoint.ts';

const job = JSON.parse(process.argv[2]!) as MemoryJob;
const config = shapeOf(job.shape);
const stages: Record<string, Readonly<Record<string, number>>> = { start: status() };

const model = await loadModel(randomCheckpoint(config, 1), {
  weights: job.weights,
  cacheDir: job.folder,
  threads: job.threads,
});
stages.loaded = status();
if (!job.prepareOnly) {
  const cache = model.createCache(job.cache);
  await model.prepare(cache);
  stages.prepared = status();
  await model.prefill(cache, promptTokens(job.tokens, config.vocab_size), { chunkLength: job.chunkLength });
  stages.read = status();
  for (let i = 0; i < job.decode; i++) await model.step(cache, [[300 + i]]);
  stages.written = status();
  process.stdout.write(
    `${JSON.stringify({ stages, cache: cache.memory(), memory: process.memoryUsage(), peak: stages.written.VmHWM })}\n`,
  );
}
await model.dispose();

/** The kernel's figures of this process, in bytes. */
function status(): Record<string, number> {
  const text = readFileSync('/proc/self/status', 'utf8');
  return Object.fromEntries(
    [...text.matchAll(/^(VmHWM|VmRSS|RssAnon|RssFile):\s+(\d+) kB$/gm)].map(([, name, kb]) => [
      name,
      Number(kb) * 1024,
    ]),
  );
}
