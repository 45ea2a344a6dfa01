/**
 * @file `npm run soak:server [COUNT] [SEED]`: 1,000 clients that leave the server at random moments. No row stays
 * taken, requests are answered as ever, and in the end resident memory is what it was.
 */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { serve } from '../src/server/serve-node.ts';
import { loadChatModel, servedModel } from './support/served.ts';

const COUNT = Number(process.argv[2] ?? 1000);
const SEED = Number(process.argv[3] ?? 1);
const ROUNDS = 10;
/** From this round on memory may not grow by more than this share. */
const WARM = 5;
const GROWTH = 0.1;

const CLIENTS = join(import.meta.dirname, 'support/leaving-clients-child.ts');

/** Clients of another process: this one's memory is the server's. */
async function leave(url: string, count: number, seed: number): Promise<number> {
  const args = ['--import', 'tsx', CLIENTS, url, String(count), String(seed)];
  return Number((await promisify(execFile)(process.execPath, args)).stdout);
}

const model = await loadChatModel();
const { one, losses } = servedModel(model, { rows: 8, queue: 100, sessions: 8 });
const server = await serve({ models: [one], port: 0 });
const ask = async () => {
  const response = await fetch(`${server.url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'tiny', prompt: 'In the beginning', max_tokens: 8, temperature: 0 }),
  });
  return (await response.json()).choices[0].text as string;
};
/** Until no row is taken for half a second, a minute at most: requests of clients that have left may still come in. */
async function idle(): Promise<void> {
  for (let [i, free] = [0, 0]; i < 1200 && free < 10; i++) {
    free = one.queue.running > 0 ? 0 : free + 1;
    await sleep(50);
  }
}
try {
  const wanted = await ask();
  let [left, warm, growth] = [0, 0, 0];
  console.log('clients   left   resident MB   heap MB   rows taken');
  for (let round = 1; round <= ROUNDS; round++) {
    left += await leave(server.url, COUNT / ROUNDS, SEED + round);
    await idle();
    const text = await ask();
    await idle();
    if (text !== wanted) throw new Error(`after ${left} clients have left the model writes ${JSON.stringify(text)}`);
    globalThis.gc?.();
    const { rss, heapUsed } = process.memoryUsage();
    const { running } = one.queue;
    console.log(
      `${(round * COUNT) / ROUNDS}   ${left}   ${(rss / 1e6).toFixed(0)}   ${(heapUsed / 1e6).toFixed(1)}   ${running}`,
    );
    if (running > 0 || losses.length > 0)
      throw new Error(`${running} rows are taken, and ${losses.length} caches lost`);
    if (round === WARM) warm = rss;
    if (warm > 0) growth = rss / warm - 1;
  }
  console.log(`resident memory grew by ${(100 * growth).toFixed(1)} % after warm-up`);
  if (growth > GROWTH) process.exitCode = 1;
} finally {
  await server.close();
  await model.dispose();
}
