/**
 * @file `npm run bench:batches -- MODEL [ENGINE] [WORK]`: tokens a second of 1 and 8 rows, and how long a sequence that
 * decodes waits for a token while a prompt of 4,000 tokens is read. MODEL is `tiny` (the model that ships) or a name of
 * shapes.ts.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type LoadOptions, loadModel } from '../src/node.ts';
import { randomCheckpoint } from './random-checkpoint.ts';
import { shapes } from './shapes.ts';

const [name = 'tiny', engine, work = 'rows,prompt'] = process.argv.slice(2);
const TOKENS = Number(process.env['TOKENS'] ?? (name === 'tiny' ? 200 : 24));
const PROMPT = Number(process.env['PROMPT'] ?? 4000);
const cacheDir = join(tmpdir(), 'keyhold-bench-batches');
const isTiny = name === 'tiny';
const options = {
  cacheDir,
  generationConfig: false,
  weights: isTiny ? 'float32' : 'int4',
  ...(engine ? { engine } : {}),
} as LoadOptions;
const model = await loadModel(isTiny ? 'models/tiny' : randomCheckpoint(shapes[name], 1), options);
const ids = (length: number, seed: number) =>
  Array.from({ length }, (_, i) => 5 + ((i * 7919 + seed * 104_729) % (model.config.vocabSize - 10)));
const generate = { maxNewTokens: TOKENS, eosTokenIds: [] as number[] };
const median = (times: number[]) => times.sort((a, b) => a - b)[times.length >> 1];

if (work.includes('rows'))
  for (const rows of (process.env['ROWS'] ?? '1,8').split(',').map(Number))
    console.log(`${rows} rows: ${(await throughput(rows)).toFixed(1)} tokens/s`);
if (work.includes('prompt')) await besidePrompt();
process.exit(0);

/** All tokens of all rows, after prompts of 16 tokens; the median of three runs after one that is not timed. */
async function throughput(rows: number): Promise<number> {
  const times: number[] = [];
  for (let round = 0; round < 4; round++) {
    const requests = Array.from({ length: rows }, (_, i) => ({ prompt: ids(16, i), ...generate }));
    const begin = performance.now();
    for await (const _ of model.generateBatch(requests, { batchSize: rows }));
    if (round > 0) times.push(performance.now() - begin);
  }
  return (rows * TOKENS * 1000) / median(times);
}

/** Times between the tokens of a sequence, alone and while a long prompt is read. */
async function besidePrompt(): Promise<void> {
  let last = 0;
  const gaps: number[] = [];
  const onToken = (logits: Float32Array) => {
    const now = performance.now();
    if (last > 0) gaps.push(now - last);
    last = now;
    void logits;
  };
  const stop = new AbortController();
  const writing = model.generate(ids(16, 1), {
    maxNewTokens: 10_000,
    eosTokenIds: [],
    processors: [onToken],
    signal: stop.signal,
    cache: { policy: 'lastrec', cacheLength: 512 },
  });
  const run = (async () => {
    for await (const _ of writing);
  })().catch(() => undefined);
  const sleep = (ms: number) => new Promise((done) => setTimeout(done, ms));
  while (gaps.length < 12) await sleep(5);
  const usual = median(gaps.splice(0).slice(2));
  const begin = performance.now();
  for await (const _ of model.generateBatch([{ prompt: ids(PROMPT, 2), maxNewTokens: 1 }]));
  const seconds = (performance.now() - begin) / 1000;
  const during = gaps.splice(0).sort((a, b) => a - b);
  stop.abort();
  await run;
  const at = (share: number) => during[Math.min(during.length - 1, Math.floor(share * during.length))];
  const figure = (ms: number) => `${ms.toFixed(1)} ms (${(ms / usual).toFixed(1)} steps)`;
  console.log(`alone ${usual.toFixed(1)} ms a token; while ${PROMPT} tokens are read (${seconds.toFixed(1)} s):`);
  console.log(`  median ${figure(at(0.5))}, 95 % ${figure(at(0.95))}, longest ${figure(at(1))}`);
}
