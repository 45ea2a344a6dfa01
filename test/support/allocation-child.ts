/**
 * @file Decodes with the small model, and tells what a token allocates. To be run with --expose-gc and room for all
 * that is young, in a process of its own: `allocation-child.ts POLICY step|generate TOKENS`.
 */
import { join } from 'node:path';
import { PerformanceObserver } from 'node:perf_hooks';
import type { AnyCacheOptions } from '../../src/kvcache/policies.ts';
import { loadModel } from '../../src/node.ts';

export interface Allocation {
  /** Bytes a token: objects of JavaScript, … */
  readonly heap: number;
  /** … and memory that they own elsewhere, that of arrays included. */
  readonly external: number;
  /** Collections while it was measured: must be 0, or the others are too small. */
  readonly collections: number;
}

const [policy, how, count] = process.argv.slice(2);
const TOKENS = Number(count);
const WARM_UP = 100;
const PROMPT = Array.from({ length: 80 }, (_, i) => 300 + i);

let collections = 0;
new PerformanceObserver((list) => {
  collections += list.getEntries().length;
}).observe({ entryTypes: ['gc'] });

await using model = await loadModel(join(import.meta.dirname, '../../models/tiny'), { threads: 1 });
const cacheOptions: Partial<AnyCacheOptions> = { policy, cacheLength: policy === 'dense' ? 4096 : 64 };
const cache = model.createCache(cacheOptions);

let before = process.memoryUsage();
if (how === 'step') {
  await model.prefill(cache, PROMPT);
  for (let i = 0; i < WARM_UP; i++) await model.step(cache, [[300 + i]]);
  await begin();
  for (let i = 0; i < TOKENS; i++) await model.step(cache, [[500 + i]]);
} else {
  const options = { cache, maxNewTokens: WARM_UP + TOKENS, eosTokenIds: [], temperature: 0.8, topP: 0.95, seed: 1 };
  let written = 0;
  for await (const _ of model.generate(PROMPT, options)) if (++written === WARM_UP) await begin();
}
const after = process.memoryUsage();
await turn();
const allocation: Allocation = {
  heap: (after.heapUsed - before.heapUsed) / TOKENS,
  external: (after.external - before.external) / TOKENS,
  collections,
};
process.stdout.write(JSON.stringify(allocation));

async function begin(): Promise<void> {
  // Native memory is given back some time after its object.
  for (let i = 0; i < 3; i++) {
    gc!();
    await turn();
  }
  collections = 0;
  before = process.memoryUsage();
}

/** Lets the observer be told. */
async function turn(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
}
