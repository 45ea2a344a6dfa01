/**
 * @file Random batches: requests of every kind that join and leave, and whether each gets what it gets alone.
 */
import type { BatchRequest, Generation, LanguageModel } from '../../src/index.ts';
import type { BufferKind } from '../../src/kvcache/buffers.ts';
import { BUFFERS } from '../../src/kvcache/buffers.ts';
import type { AnyCacheOptions } from '../../src/kvcache/policies.ts';
import { POLICIES } from '../../src/kvcache/policies.ts';
import { seeded } from './seeded.ts';

type Random = (below: number) => number;

export interface BatchCase {
  readonly cache: Partial<AnyCacheOptions>;
  readonly batchSize: number;
  readonly requests: readonly BatchRequest[];
  /** How many events happen before each request comes. */
  readonly delays: readonly number[];
}

/** A row that got other tokens than alone. */
export interface BatchDifference {
  readonly id: number;
  readonly at: number;
  /** How far apart the two tokens are in the log probabilities that the row alone saw there. */
  readonly gap: number;
  readonly alone: readonly number[];
  readonly batched: readonly number[];
}

const BUFFER_KINDS = Object.keys(BUFFERS) as BufferKind[];

/** Every policy, also with a budget that groups share. */
export const BATCH_POLICIES: readonly string[] = [...Object.keys(POLICIES), 'ada(h2o)', 'ada(snapkv)', 'ada(keydiff)'];

/** @param policy one of {@link BATCH_POLICIES}, for most of the rows. */
export function randomBatch(model: LanguageModel, seed: number, policy: string, buffer: BufferKind): BatchCase {
  const random = seeded(seed);
  const cache = cacheFor(random, policy, buffer);
  const requests = Array.from({ length: 1 + random(9) }, () => randomRequest(model, random, cache));
  return {
    cache,
    batchSize: 1 + random(6),
    requests,
    delays: requests.map(() => (random(2) === 0 ? 0 : random(12))),
  };
}

/** The buffer of a policy: one that weighs what quantization lost has no use for float32. */
export function bufferFor(policy: string, n: number): BufferKind {
  const kind = BUFFER_KINDS[n % BUFFER_KINDS.length];
  return policy.includes('qh2o') && kind === 'float32' ? 'int8' : kind;
}

function cacheFor(random: Random, policy: string, buffer: BufferKind): Partial<AnyCacheOptions> {
  if (policy === 'dense') return { policy, buffer };
  const cacheLength = 8 + random(40);
  return { policy, buffer, cacheLength, sinks: random(3) };
}

function randomRequest(model: LanguageModel, random: Random, cache: Partial<AnyCacheOptions>): BatchRequest {
  const ids = Array.from({ length: 1 + random(random(3) === 0 ? 60 : 20) }, () => random(model.config.vocabSize));
  const drawn = random(2) === 0;
  const other = random(6) === 0 ? { policy: 'lastrec', cacheLength: 16 + random(2) } : undefined;
  const exactBuffer = cache.buffer === 'float32' || other !== undefined;
  const speculate = random(4) === 0 && exactBuffer && cache.policy !== 'expected';
  return {
    prompt: ids,
    maxNewTokens: 1 + random(24),
    chunkLength: 1 + random(30),
    ...(drawn ? { temperature: 0.7 + random(10) / 10, topP: 0.95, seed: random(1000) } : {}),
    ...(random(3) === 0 ? { repetitionPenalty: 1.2 } : {}),
    ...(random(3) === 0 ? { eosTokenIds: [random(model.config.vocabSize), random(model.config.vocabSize)] } : {}),
    ...(random(2) === 0 ? { topLogprobs: 3 } : {}),
    ...(other ? { cache: other } : {}),
    ...(speculate ? { speculate } : {}),
  };
}

/** Runs a batch, and every request of it alone. */
export async function compareBatch(model: LanguageModel, batch: BatchCase) {
  const { cache, requests, batchSize, delays } = batch;
  const pieces = requests.map((): number[] => []);
  const written = requests.map((): number[] => []);
  const results = new Map<number, string>();
  let events = 0;
  let tell = () => {};
  async function* source(): AsyncGenerator<BatchRequest> {
    for (const [i, request] of requests.entries()) {
      for (const until = events + delays[i]; events < until && results.size < i; )
        await new Promise<void>((done) => {
          tell = done;
        });
      yield request;
    }
  }
  for await (const event of model.generateBatch(source(), { cache, batchSize })) {
    const id = event.id as number;
    events++;
    if (event.type === 'text') {
      pieces[id].push(...event.tokens.map(({ token }) => token));
    } else {
      results.set(id, event.type === 'end' ? event.result.finishReason : String(event.error));
      const result = event.type === 'end' ? event.result : event.partial;
      written[id] = result?.tokens.map(({ token }) => token) ?? [];
      // What was cut short may have tokens whose text was not certain yet.
      const told = event.type === 'end' ? written[id] : written[id].slice(0, pieces[id].length);
      if (String(pieces[id]) !== String(told))
        throw new Error(`the pieces of request ${id} are not what its result says`);
    }
    tell();
  }
  const differences: BatchDifference[] = [];
  let failed = 0;
  for (const [id, request] of requests.entries()) {
    const { tokens, ended } = await alone(model, { cache, ...request });
    if (ended.includes('Error')) failed++;
    const at = tokens.findIndex(({ token }, i) => token !== written[id][i]);
    if (at >= 0) {
      const { token, top } = tokens[at];
      const logprob = (other: number) => top!.find((one) => one.token === other)?.logprob ?? Number.NEGATIVE_INFINITY;
      const gap = Math.abs(logprob(token) - logprob(written[id][at]));
      differences.push({ id, at, gap, alone: tokens.map((one) => one.token), batched: written[id] });
    } else if (written[id].length !== tokens.length || results.get(id) !== ended) {
      const why = `${ended} after ${tokens.length}, and ${results.get(id)} after ${written[id].length} in the batch`;
      throw new Error(`request ${id} ended with ${why}`);
    }
  }
  const count = written.reduce((sum, list) => sum + list.length, 0);
  return { rows: requests.length, failed, tokens: count, differences };
}

/** What a request gets by itself. There is no need to speculate then, and nothing to gain by it. */
async function alone(model: LanguageModel, { prompt, ...options }: BatchRequest) {
  let run: Generation | undefined;
  let ended: string;
  try {
    run = model.generate(prompt!, { ...options, speculate: false, topLogprobs: model.config.vocabSize });
    ended = (await run.result()).finishReason;
  } catch (error) {
    ended = String(error);
  }
  return { tokens: run?.partial?.tokens ?? [], ended };
}
