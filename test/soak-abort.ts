/**
 * @file `npm run soak:abort`: 1,000 aborts at random moments. After each the model answers as ever, caches hold what
 * was read and written and go on from there, and in the end resident memory is what it was.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Conversation,
  type KVCache,
  type LanguageModel,
  loadModel,
  loadModelInWorker,
  type WorkerCache,
} from '../src/node.ts';
import { PLAIN } from './support/chat-templates.ts';
import { seeded } from './support/seeded.ts';

const ABORTS = Number(process.argv[2] ?? 1000);
const SEED = Number(process.argv[3] ?? 1);
const EVERY = 100;
/** From here on memory may not grow by more than this share. */
const WARM = 0.3;
const GROWTH = 0.1;
const POLICIES = ['dense', 'lastrec', 'h2o', 'tova', 'snapkv', 'keydiff'];

const random = seeded(SEED);
const cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-soak-'));
const folder = join(import.meta.dirname, '../models/tiny');
const ends: Record<string, number> = {};
try {
  await using model = await loadModel(folder, { weights: 'float32', cacheDir, generationConfig: false });
  await using worker = await loadModelInWorker(folder, { weights: 'float32', cacheDir, generationConfig: false });
  const prompt = model.tokenizer.encode('In the beginning God created the heaven and the earth. '.repeat(3));
  const wanted = (await model.generate(prompt, { maxNewTokens: 3 }).result()).text;
  const kinds = { generate, speculate, batch, chat, score, thread };
  let warm = 0;
  let growth = 0;
  console.log('aborts   resident   heap   how the last ones ended');
  for (let n = 1; n <= ABORTS; n++) {
    const names = Object.keys(kinds) as (keyof typeof kinds)[];
    const kind = names[random(names.length)];
    const aborter = new AbortController();
    const reason = new Error('enough');
    // Most within a run, some after its end.
    const delay = random(random(10) > 0 ? 100 : 1000);
    const timer = sleep(delay).then(() => aborter.abort(reason));
    let outcome = 'finished';
    try {
      await kinds[kind](aborter.signal);
    } catch (error) {
      if (error !== reason) throw error;
      outcome = 'aborted';
    }
    await timer;
    ends[`${kind} ${outcome}`] = (ends[`${kind} ${outcome}`] ?? 0) + 1;
    const { text } = await model.generate(prompt, { maxNewTokens: 3 }).result();
    if (text !== wanted) throw new Error(`after abort ${n} (${kind}) the model writes ${JSON.stringify(text)}`);
    if (n % EVERY > 0) continue;
    // What is only garbage is no growth.
    globalThis.gc?.();
    await sleep(50);
    const { rss, heapUsed } = process.memoryUsage();
    console.log(`${String(n).padStart(6)} ${megabytes(rss)} ${megabytes(heapUsed)}   ${JSON.stringify(ends)}`);
    if (n >= WARM * ABORTS) warm ||= rss;
    if (warm > 0) growth = rss / warm - 1;
  }
  const aborted = Object.entries(ends).reduce((sum, [name, count]) => sum + (name.endsWith('aborted') ? count : 0), 0);
  console.log(
    `${aborted} of ${ABORTS} runs were aborted; resident memory grew by ${(100 * growth).toFixed(1)} % after warm-up`,
  );
  if (growth > GROWTH) process.exitCode = 1;

  function newCache(): KVCache {
    const policy = POLICIES[random(POLICIES.length)];
    return model.createCache({ policy, cacheLength: policy === 'dense' ? 512 : 16 + random(64) });
  }

  async function generate(signal: AbortSignal): Promise<void> {
    const cache = newCache();
    const chunkLength = 1 + random(30);
    const run = model.generate(prompt, { cache, chunkLength, signal, maxNewTokens: 100, eosTokenIds: [] });
    await run.result().finally(() => checkCache(model, cache, prompt, run.partial!.tokens));
  }

  async function speculate(signal: AbortSignal): Promise<void> {
    const cache = newCache();
    const options = {
      cache,
      signal,
      maxNewTokens: 100,
      eosTokenIds: [],
      speculate: random(2) ? true : { draft: model },
    };
    const run = model.generate(prompt, options);
    await run.result().finally(() => checkCache(model, cache, prompt, run.partial!.tokens));
  }

  async function batch(signal: AbortSignal): Promise<void> {
    const caches = [newCache(), newCache(), newCache()];
    const written = new Map<string | number, readonly { token: number }[]>();
    const requests = caches.map((cache) => ({ prompt, cache, chunkLength: 1 + random(40) }));
    const run = model.generateBatch(requests, { signal, maxNewTokens: 40, eosTokenIds: [], batchSize: 2 });
    try {
      for await (const event of run) if (event.type === 'end') written.set(event.id, event.result.tokens);
    } finally {
      for (const [id, tokens] of written) await checkCache(model, caches[Number(id)], prompt, tokens);
    }
  }

  async function chat(signal: AbortSignal): Promise<void> {
    const conversation = new Conversation(model, { template: PLAIN, cache: newCache(), maxNewTokens: 60 });
    await conversation.say('Hello', { maxNewTokens: 3 }).result();
    try {
      await conversation.say('And what then?', { signal }).result();
    } finally {
      await conversation.say('Go on', { maxNewTokens: 2 }).result();
    }
  }

  async function score(signal: AbortSignal): Promise<void> {
    await model.score([...prompt, ...prompt, ...prompt], { signal, chunkLength: 4 });
  }

  async function thread(signal: AbortSignal): Promise<void> {
    await using cache = await worker.createCache({ policy: 'lastrec', cacheLength: 64 });
    const run = worker.generate(prompt, { cache, signal, maxNewTokens: 100, eosTokenIds: [] });
    try {
      await run.result();
    } finally {
      await checkThread(cache, run.partial?.tokens ?? []);
    }
  }

  async function checkThread(cache: WorkerCache, written: readonly { readonly token: number }[]): Promise<void> {
    const tokens = [...prompt, ...written.map(({ token }) => token)];
    const seen = await cache.tokens();
    if (seen.some((token, i) => token !== tokens[i])) throw new Error('the cache in the thread holds something else');
    const { text } = await worker.generate(prompt, { maxNewTokens: 3 }).result();
    if (text !== wanted) throw new Error(`the thread writes ${JSON.stringify(text)}`);
  }
} finally {
  await rm(cacheDir, { recursive: true, force: true });
}

/**
 * A cache must have seen the beginning of prompt and text, and go on as one that has seen just that, where nothing was
 * dropped.
 */
async function checkCache(
  model: LanguageModel,
  cache: KVCache,
  prompt: readonly number[],
  written: readonly { readonly token: number }[],
): Promise<void> {
  const all = [...prompt, ...written.map(({ token }) => token)];
  const seen = cache.tokens();
  if (seen.some((token, i) => token !== all[i])) throw new Error(`the ${cache.policy} cache has seen something else`);
  if (seen.length >= prompt.length && seen.length < all.length - 1)
    throw new Error(`the ${cache.policy} cache lacks ${all.length - seen.length} tokens`);
  const { evicted, held } = cache.stats();
  if (held[0] > cache.cacheLength) throw new Error(`the ${cache.policy} cache holds ${held[0]} slots`);
  const next = [...cache.pending(), 7];
  const logits = await model.prefill(cache, [7], { phase: 'decode' });
  if (evicted[0] > 0) return;
  const anew = await model.prefill(model.createCache(), [...seen, ...next]);
  const gap = anew.reduce((most, logit, i) => Math.max(most, Math.abs(logit - logits[i])), 0);
  if (!(gap < 1e-2)) throw new Error(`the ${cache.policy} cache goes on otherwise: logits are ${gap} apart`);
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`.padStart(10);
}
