import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { BATCH_POLICIES, bufferFor, compareBatch, randomBatch } from '../../../test/support/batch-cases.ts';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { ids, watchSteps } from '../../../test/support/small-model.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadModel } from '../../node.ts';
import { CacheFullError, InputError } from '../../util/errors.ts';
import type { LanguageModel } from '../language-model.ts';
import type { BatchOptions, BatchRequest, GenerationResult } from '../options.ts';
import type { BatchEvent, BatchResult } from './batch-run.ts';

const cacheDir = await tempFolder('batch');
const load = (path: string) => loadModel(path, { weights: 'float32', cacheDir, generationConfig: false });
let tiny: LanguageModel;
/** Two layers, 97 tokens and no tokenizer. */
let small: LanguageModel;

beforeAll(async () => {
  tiny = await load('models/tiny');
  small = await load(caseFolder('llama'));
});
afterAll(async () => {
  await tiny.dispose();
  await small.dispose();
});
afterEach(() => {
  vi.restoreAllMocks();
});

const PROMPTS = ['In the beginning', 'And Moses said unto', 'hacker: n.', 'And it came to pass', 'The'];
const tokensOf = ({ tokens }: { tokens: readonly { token: number }[] }): number[] => tokens.map(({ token }) => token);

async function collect(batch: AsyncIterable<BatchEvent>): Promise<BatchEvent[]> {
  const events: BatchEvent[] = [];
  for await (const event of batch) events.push(event);
  return events;
}

/** What a request came to, by its id. */
function summaries(results: readonly BatchResult[]): Map<string | number, GenerationResult> {
  return new Map(
    results.map((result) => {
      if (result.type === 'error') throw result.error;
      return [result.id, result.result];
    }),
  );
}

/** The same but for times, and the bytes of caches. */
const essence = ({ timings: _, cache: __, ...rest }: GenerationResult) => ({
  ...rest,
  tokens: rest.tokens.map(({ token, logprob, top }) => ({
    token,
    logprob: logprob.toFixed(2),
    top: top?.map((one) => one.token),
  })),
});

describe('each row of a batch gets what it gets alone', () => {
  it.each(BATCH_POLICIES)('under %s, in random company', async (policy) => {
    const n = BATCH_POLICIES.indexOf(policy);
    const kinds = [0, 1].map((i) => bufferFor(policy, n + i));
    for (const [i, buffer] of kinds.entries()) {
      const { differences, rows } = await compareBatch(small, randomBatch(small, 77_000 + 10 * n + i, policy, buffer));
      expect(rows).toBeGreaterThan(0);
      // Sums of several rows have another order. That may round a value of a quantized slot the other way, and decides
      // which of equal tokens, whose keys have equal norms, knorm evicts.
      const near = buffer.startsWith('float') && policy !== 'knorm' ? 1e-3 : 0.1;
      expect(differences.filter(({ gap }) => gap > near)).toEqual([]);
    }
  });

  it.each(['gemma2', 'gpt2', 'bloom', 'mixtral', 'llama-rope-dynamic', 'phi3-longrope'])(
    'of a model like %s',
    async (name) => {
      await using model = await load(caseFolder(name));
      for (const [i, policy] of ['dense', 'h2o', 'lastrec'].entries())
        expect((await compareBatch(model, randomBatch(model, 88_000 + i, policy, 'float32'))).differences).toEqual([]);
    },
  );

  it('with options of its own: sampling, stops, ends, log probabilities', async () => {
    const requests: BatchRequest[] = [
      { prompt: PROMPTS[0], temperature: 0.8, seed: 1, maxNewTokens: 12 },
      { prompt: PROMPTS[1], stop: [',', '.'], topLogprobs: 3 },
      { prompt: PROMPTS[2], temperature: 1, topP: 0.9, seed: 2, repetitionPenalty: 1.3, maxNewTokens: 20 },
      { prompt: PROMPTS[3], eosTokenIds: [15, 261], maxNewTokens: 60 },
      { prompt: PROMPTS[4], speculate: true, maxNewTokens: 25 },
      { prompt: tiny.tokenizer.encode(PROMPTS[4]), cache: { policy: 'h2o', cacheLength: 16 }, maxNewTokens: 30 },
    ];
    const shared: BatchOptions = { maxNewTokens: 18, bannedTokens: [270] };
    const results = summaries(await tiny.generateBatch(requests, { ...shared, batchSize: 4 }).results());
    for (const [id, { prompt, ...options }] of requests.entries()) {
      const alone = await tiny.generate(prompt!, { ...shared, ...options }).result();
      expect(essence(results.get(id)!), `request ${id}`).toEqual(essence(alone));
    }
    expect(results.get(1)!.finishReason).toBe('stop');
  });
});

describe('rows', () => {
  it('share their steps, and leave without a trace', async () => {
    const steps = watchSteps(small);
    const requests = [6, 3, 9, 1].map((maxNewTokens) => ({ prompt: ids(4, maxNewTokens), maxNewTokens }));
    await small.generateBatch(requests, { eosTokenIds: [] }).results();
    // Short prompts are read before the first step; the first token of a row needs no step of its own.
    const [one, two, three] = [[1], [1, 1], [1, 1, 1]];
    expect(steps).toEqual([[4], [4], [4], [4], three, three, two, two, two, one, one, one]);
  });

  it('read long prompts chunk by chunk, while others write', async () => {
    const steps = watchSteps(small);
    await small
      .generateBatch(
        [
          { prompt: ids(3), maxNewTokens: 12 },
          { prompt: ids(120), maxNewTokens: 2 },
        ],
        { chunkLength: 10, eosTokenIds: [] },
      )
      .results();
    expect(steps.slice(0, 9)).toEqual([[3], [10], [1], [10], [1], [10], [1], [10], [1]]);
  });

  it('are never more than there is room for; others wait for a lane', async () => {
    const live = new Set<string | number>();
    let most = 0;
    const taken: number[] = [];
    function* source(): Generator<BatchRequest> {
      for (let i = 0; i < 9; i++) {
        taken.push(live.size);
        live.add(i);
        most = Math.max(most, live.size);
        yield { prompt: ids(3, i), maxNewTokens: 3 + (i % 4), eosTokenIds: [] };
      }
    }
    const order: (string | number)[] = [];
    for await (const event of small.generateBatch(source(), { batchSize: 3 })) {
      if (event.type !== 'end') continue;
      live.delete(event.id);
      order.push(event.id);
    }
    expect(most).toBe(3);
    expect(order).toHaveLength(9);
    expect(order).not.toEqual([...order].sort());
  });

  it('of other caches do not share steps, and get what they get alone', async () => {
    const steps = watchSteps(small);
    const kinds = [{ policy: 'dense' }, { policy: 'h2o', cacheLength: 12 }, { policy: 'h2o', cacheLength: 13 }];
    const requests = [0, 1, 2, 0, 1].map((kind, i) => ({ prompt: ids(8, i), cache: kinds[kind], maxNewTokens: 10 }));
    const results = summaries(await small.generateBatch(requests, { eosTokenIds: [] }).results());
    const widths = new Set(steps.map((rows) => rows.length));
    expect(widths).toEqual(new Set([1, 2]));
    vi.restoreAllMocks();
    for (const [id, { prompt, ...options }] of requests.entries()) {
      const alone = await small.generate(prompt, { ...options, eosTokenIds: [] }).result();
      expect(tokensOf(results.get(id)!)).toEqual(tokensOf(alone));
      expect(results.get(id)!.cache).toMatchObject({ policy: options.cache.policy });
    }
  });

  it('may be added while the batch runs', async () => {
    let add: (request: BatchRequest | null) => void = () => {};
    async function* source(): AsyncGenerator<BatchRequest | string> {
      yield { id: 'first', prompt: PROMPTS[0], maxNewTokens: 30 };
      for (;;) {
        const next = await new Promise<BatchRequest | null>((done) => {
          add = done;
        });
        if (!next) return;
        yield next;
      }
    }
    const events: string[] = [];
    let pieces = 0;
    for await (const event of tiny.generateBatch(source())) {
      events.push(`${event.id} ${event.type}`);
      if (event.id === 'first' && ++pieces === 5) add({ id: 'second', prompt: PROMPTS[1], maxNewTokens: 4 });
      if (event.id === 'second' && event.type === 'end') add(null);
    }
    const at = (name: string) => events.indexOf(name);
    expect(at('second text')).toBeGreaterThan(4);
    expect(at('second end')).toBeLessThan(at('first end'));
  });

  it('may come after a pause in which there is nothing to do', async () => {
    async function* source(): AsyncGenerator<string> {
      for (const prompt of PROMPTS.slice(0, 3)) {
        await new Promise((done) => setTimeout(done, 30));
        yield prompt;
      }
    }
    const results = summaries(await tiny.generateBatch(source(), { maxNewTokens: 2 }).results());
    expect([...results.keys()]).toEqual([0, 1, 2]);
  });

  it('answer messages, too', async () => {
    const template = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:';
    const messages = [{ role: 'user', content: 'Who art thou?' }];
    const results = summaries(
      await tiny.generateBatch([{ messages, template }, { prompt: 'x' }], { maxNewTokens: 8 }).results(),
    );
    const alone = await tiny.chat(messages, { template, maxNewTokens: 8 }).result();
    expect(essence(results.get(0)!)).toEqual(essence(alone));
  });
});

describe('caches that are handed in', () => {
  it('have at the end what they have after generate', async () => {
    for (const policy of ['dense', 'lastrec', 'h2o'])
      for (const speculate of [false, true]) {
        const kind = { policy, cacheLength: policy === 'dense' ? 128 : 24 };
        const make = () => small.createCache(kind);
        const options = { maxNewTokens: 12, eosTokenIds: [], speculate };
        const [own, alone] = [make(), make()];
        for (const cache of [own, alone]) await small.prefill(cache, ids(6));
        const requests = [
          { prompt: ids(9, 1), maxNewTokens: 20, cache: kind },
          { prompt: ids(5, 2), cache: own },
        ];
        const results = summaries(await small.generateBatch(requests, options).results());
        const expected = await small.generate(ids(5, 2), { ...options, cache: alone }).result();
        expect(tokensOf(results.get(1)!)).toEqual(tokensOf(expected));
        expect(own.tokens()).toEqual(alone.tokens());
        for (const layer of [0, 1]) expect(own.tokenPositions(layer)).toEqual(alone.tokenPositions(layer));
        const [a, b] = [await small.prefill(own, [5]), await small.prefill(alone, [5])];
        a.forEach((logit, i) => {
          expect(logit).toBeCloseTo(b[i], 3);
        });
      }
  });

  it('are not computed anew where they begin like the prompt', async () => {
    const cache = tiny.createCache();
    const first = await tiny.generate(PROMPTS[0], { cache, maxNewTokens: 4 }).result();
    const prompt = [...tiny.tokenizer.encode(PROMPTS[0]), ...tokensOf(first), 50, 51];
    const results = summaries(
      await tiny.generateBatch([{ prompt, cache, reusePrefix: true, maxNewTokens: 3 }]).results(),
    );
    expect(results.get(0)).toMatchObject({ usage: { promptTokens: prompt.length, cachedTokens: prompt.length - 3 } });
    expect(tokensOf(results.get(0)!)).toEqual(tokensOf(await tiny.generate(prompt, { maxNewTokens: 3 }).result()));
  });

  it('keep what was read and written where the batch is left', async () => {
    const cache = tiny.createCache();
    let seen = 0;
    for await (const event of tiny.generateBatch(['And', { prompt: PROMPTS[0], cache }], { maxNewTokens: 50 })) {
      if (event.id === 1 && event.type === 'text' && ++seen === 3) break;
    }
    const prompt = tiny.tokenizer.encode(PROMPTS[0]);
    expect(cache.length()).toBeGreaterThanOrEqual(prompt.length + 2);
    const alone = await tiny.generate(PROMPTS[0], { maxNewTokens: 10 }).result();
    expect(cache.tokens()).toEqual([...prompt, ...tokensOf(alone)].slice(0, cache.length()));
  });
});

describe('what goes wrong with one request', () => {
  it('is told at its place, and leaves the others alone', async () => {
    const requests: (BatchRequest | string)[] = [
      { id: 'fine', prompt: ids(5), maxNewTokens: 4 },
      { id: 'hot', prompt: ids(5), temperature: -1 },
      { id: 'empty', prompt: [] },
      { id: 'none' },
      { id: 'both', prompt: ids(3), messages: [{ role: 'user', content: 'x' }] },
      { id: 'far', prompt: [96, 97] },
      { id: 'full', prompt: ids(5), cache: { policy: 'dense', cacheLength: 9 } },
      { id: 'long', prompt: ids(15), cache: { policy: 'dense', cacheLength: 9 } },
      { id: 'policy', prompt: ids(5), cache: { policy: 'nope' } },
      {
        id: 'own',
        prompt: ids(5),
        processors: [
          (_, { tokens }) => {
            if (tokens.length === 7) throw new Error('mine');
          },
        ],
      },
      { id: 'fine', prompt: ids(6), maxNewTokens: 20 },
      'text without a tokenizer',
    ];
    const results = await small.generateBatch(requests, { maxNewTokens: 20, eosTokenIds: [], batchSize: 20 }).results();
    const told = results.map((result) => [
      result.id,
      result.type === 'error' ? (result.error as Error).message : result.result.finishReason,
      (result.type === 'end' ? result.result : result.partial)?.tokens.length ?? null,
    ]);
    expect(told).toEqual(
      expect.arrayContaining([
        ['fine', 'length', 4],
        ['hot', 'temperature must be at least 0 and finite, but is -1', null],
        ['empty', 'the prompt is empty: there is no token to go on from', null],
        ['none', 'a request needs a prompt, or messages instead', null],
        ['both', 'a request needs a prompt, or messages instead', null],
        ['far', "token id 97 (index 1) is not in the model's vocabulary of 97", 0],
        ['full', 'length', 5],
        ['long', expect.stringMatching(/^the dense cache holds 0 of 9 tokens/), 0],
        ['policy', expect.stringMatching(/^there is no cache policy "nope"/), null],
        ['own', 'mine', 2],
        ['fine', 'there is a request with the id fine already', null],
        [11, expect.stringMatching(/has no tokenizer.json/), null],
      ]),
    );
    expect(told).toHaveLength(requests.length);
    const long = results.find(({ id }) => id === 'long')!;
    expect(long.type === 'error' && long.error).toBeInstanceOf(CacheFullError);
  });

  it('is not the end of its positions, where these are learned, but a longer prompt', async () => {
    await using gpt2 = await load(caseFolder('gpt2'));
    const { contextLength } = gpt2.config;
    const requests = [ids(contextLength - 3), ids(5)].map((prompt) => ({ prompt: prompt.map((id) => id % 90) }));
    const results = await gpt2.generateBatch(requests, { maxNewTokens: 10, eosTokenIds: [] }).results();
    const ends = summaries(results);
    expect(ends.get(0)).toMatchObject({ finishReason: 'length', usage: { completionTokens: 4 } });
    expect(ends.get(1)).toMatchObject({ finishReason: 'length', usage: { completionTokens: 10 } });
    const [long] = await gpt2.generateBatch([{ prompt: ids(contextLength + 1).map((id) => id % 90) }]).results();
    expect(long).toMatchObject({
      type: 'error',
      error: { message: expect.stringMatching(/has learned \d+ positions/) },
    });
  });

  it('may be its own abort', async () => {
    const aborter = new AbortController();
    const requests = [
      { prompt: PROMPTS[0], signal: aborter.signal },
      { prompt: PROMPTS[1], maxNewTokens: 12 },
      { prompt: PROMPTS[2], signal: AbortSignal.abort() },
    ];
    const results: BatchResult[] = [];
    let pieces = 0;
    for await (const event of tiny.generateBatch(requests, { maxNewTokens: 100 })) {
      if (event.type !== 'text') results.push(event);
      else if (event.id === 0 && ++pieces === 4) aborter.abort();
    }
    const reasons = Object.fromEntries([...summaries(results)].map(([id, { finishReason }]) => [id, finishReason]));
    expect(reasons).toEqual({ 0: 'aborted', 1: 'length', 2: 'aborted' });
    const cut = summaries(results).get(0)!;
    expect(cut.tokens.length).toBeGreaterThanOrEqual(4);
    expect(cut.tokens.length).toBeLessThan(8);
    expect(essence(cut).text).toBe((await tiny.generate(PROMPTS[0]).result()).text.slice(0, cut.text.length));
  });
});

describe('a batch', () => {
  it('ends with the reason of its abort, after telling how far each request came', async () => {
    const reason = new Error('enough');
    const aborter = new AbortController();
    const batch = tiny.generateBatch(PROMPTS.slice(0, 3), { signal: aborter.signal, maxNewTokens: 100 });
    const events: BatchEvent[] = [];
    await expect(async () => {
      for await (const event of batch) {
        events.push(event);
        if (events.length === 12) aborter.abort(reason);
      }
    }).rejects.toBe(reason);
    const ends = events.filter((event) => event.type === 'end');
    expect(ends.map(({ id, result }) => [id, result.finishReason]).sort()).toEqual([
      [0, 'aborted'],
      [1, 'aborted'],
      [2, 'aborted'],
    ]);
    await expect(tiny.generateBatch(['x'], { signal: AbortSignal.abort(reason) }).results()).rejects.toBe(reason);
  });

  it('that waits for requests ends when it is aborted', async () => {
    const aborter = new AbortController();
    async function* source(): AsyncGenerator<string> {
      await new Promise(() => {});
      yield 'never';
    }
    const done = tiny.generateBatch(source(), { signal: aborter.signal }).results();
    setTimeout(() => aborter.abort(new Error('nothing came')), 20);
    await expect(done).rejects.toThrow('nothing came');
  });

  it('tells its source when it wants no more', async () => {
    let closed = 0;
    function* source(): Generator<string> {
      try {
        for (;;) yield 'And';
      } finally {
        closed++;
      }
    }
    for await (const event of tiny.generateBatch(source(), { maxNewTokens: 3, batchSize: 2 }))
      if (event.type === 'end' && event.id === 4) break;
    expect(closed).toBe(1);
  });

  it('throws what its source throws', async () => {
    async function* source(): AsyncGenerator<string> {
      yield 'And';
      throw new Error('the queue is broken');
    }
    await expect(tiny.generateBatch(source(), { maxNewTokens: 3 }).results()).rejects.toThrow('the queue is broken');
  });

  it('may be empty, and says at once what it can’t be', async () => {
    expect(await tiny.generateBatch([]).results()).toEqual([]);
    expect(() => tiny.generateBatch('a text')).toThrow(InputError);
    for (const none of [3, null, undefined])
      expect(() => tiny.generateBatch(none as never)).toThrow(/takes a list of requests/);
    expect(() => tiny.generateBatch([], { batchSize: 0 })).toThrow(/batchSize must be a whole number from 1 to 4096/);
    const batch = tiny.generateBatch([]);
    await collect(batch);
    await expect(collect(batch)).rejects.toThrow(/iterated already/);
  });

  it('runs beside other generations', async () => {
    const [batch, one] = await Promise.all([
      tiny.generateBatch(PROMPTS, { maxNewTokens: 10 }).results(),
      tiny.generate(PROMPTS[0], { maxNewTokens: 10 }).result(),
    ]);
    expect(summaries(batch).get(0)!.text).toBe(one.text);
  });
});
