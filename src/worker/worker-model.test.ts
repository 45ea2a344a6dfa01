import { spawnSync } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtUrl } from '../../test/support/built.ts';
import { PLAIN } from '../../test/support/chat-templates.ts';
import { caseFolder } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import {
  CacheFullError,
  CheckpointError,
  definePolicy,
  InputError,
  type LanguageModel,
  type LoadProgress,
  loadCache,
  loadModel,
  loadModelInWorker,
  SnapshotError,
  saveCache,
  WorkerError,
  type WorkerModel,
} from '../node.ts';

const folder = await tempFolder('worker');
const cacheDir = join(folder, 'cache');
const OPTIONS = { weights: 'float32', cacheDir, generationConfig: false } as const;
let here: LanguageModel;
let there: WorkerModel;
beforeAll(async () => {
  here = await loadModel('models/tiny', OPTIONS);
  there = await loadModelInWorker('models/tiny', OPTIONS);
});
afterAll(async () => {
  await here.dispose();
  await there.dispose();
});

const PROMPT = 'In the beginning';
/** Without what differs from run to run. */
const timeless = (summary: object) => ({ ...summary, timings: null });

describe('a model in a worker', () => {
  it('is the same model', () => {
    expect(there.config).toEqual(here.config);
    const facts = ({
      name,
      weights,
      fingerprint,
      eosTokenIds,
      hasTokenizer,
      generationConfig,
    }: LanguageModel | WorkerModel) => ({
      ...{ name, weights, fingerprint, eosTokenIds, hasTokenizer, generationConfig },
    });
    expect(facts(there)).toEqual(facts(here));
    expect(there.chatTemplate).toBeNull();
    expect(there.answerEnds).toEqual(here.answerEnds);
  });

  it('writes the same, piece by piece', async () => {
    const options = { maxNewTokens: 20, temperature: 0.8, seed: 3, topLogprobs: 2, stop: ['xyz'], speculate: true };
    const [a, b] = [here.generate(PROMPT, options), there.generate(PROMPT, options)];
    const pieces: unknown[][] = [[], []];
    for await (const piece of a) pieces[0].push(piece);
    for await (const piece of b) pieces[1].push(piece);
    expect(pieces[1]).toEqual(pieces[0]);
    expect(timeless(b.partial!)).toEqual(timeless(a.partial!));
    expect(await b.result()).toBe(b.partial);
    await expect(b[Symbol.asyncIterator]().next()).rejects.toThrow(/iterated already/);
    const ids = here.tokenizer.encode(PROMPT);
    expect((await there.generate(ids, { maxNewTokens: 3 }).result()).usage.promptTokens).toBe(ids.length);
  });

  it('leaves the event loop free', async () => {
    let ticks = 0;
    const timer = setInterval(() => ticks++, 5);
    const begin = performance.now();
    await there.generate(PROMPT, { maxNewTokens: 60, eosTokenIds: [] }).result();
    clearInterval(timer);
    // In the same thread, a step lets one tick through.
    expect(ticks).toBeGreaterThan(Math.min(20, (performance.now() - begin) / 50));
  });

  it('writes batches, of requests that come in time, and ends single ones', async () => {
    const aborter = new AbortController();
    async function* requests() {
      yield PROMPT;
      yield { id: 'long', prompt: 'And', maxNewTokens: 4000, eosTokenIds: [], signal: aborter.signal };
      yield { id: 'bad', prompt: 'And', temperature: -1 };
      await new Promise((done) => setTimeout(done, 20));
      yield { id: 'late', prompt: 'Moses', maxNewTokens: 3 };
    }
    const ends = new Map<string | number, unknown>();
    for await (const event of there.generateBatch(requests(), { maxNewTokens: 6, batchSize: 3 })) {
      if (event.type === 'text') continue;
      ends.set(event.id, event.type === 'error' ? event.error : event.result.finishReason);
      if (event.id === 'late') aborter.abort();
    }
    expect(ends.get(0)).toBe('length');
    expect(ends.get('long')).toBe('aborted');
    expect(ends.get('bad')).toBeInstanceOf(InputError);
    expect(ends.get('late')).toBe('length');
    const [end] = await there.generateBatch([PROMPT], { maxNewTokens: 6 }).results();
    expect(end.type === 'end' && end.result.text).toBe(
      (await here.generate(PROMPT, { maxNewTokens: 6 }).result()).text,
    );
  });

  it('ends a batch by its signal, by leaving the loop, and by its source', async () => {
    const aborter = new AbortController();
    const reason = new Error('enough');
    const aborted = there.generateBatch([PROMPT], { signal: aborter.signal, maxNewTokens: 4000, eosTokenIds: [] });
    await expect(async () => {
      for await (const _ of aborted) aborter.abort(reason);
    }).rejects.toBe(reason);
    for await (const _ of there.generateBatch([PROMPT], { maxNewTokens: 4000, eosTokenIds: [] })) break;
    async function* broken(): AsyncGenerator<string> {
      yield PROMPT;
      throw new SnapshotError('the source is broken');
    }
    await expect(there.generateBatch(broken(), { maxNewTokens: 3 }).results()).rejects.toThrow(SnapshotError);
  });

  it('answers messages and scores texts', async () => {
    const messages = [{ role: 'user', content: 'Hello' }];
    const chat = { template: PLAIN, maxNewTokens: 8 };
    const [a, b] = [await here.chat(messages, chat).result(), await there.chat(messages, chat).result()];
    expect(b.text).toBe(a.text);
    await expect(there.chat(messages).result()).rejects.toThrow(/has no chat template/);
    const progress: number[] = [];
    const onProgress = (done: number, total: number) => progress.push(done, total);
    const scored = await there.score(PROMPT, { topLogprobs: 2, chunkLength: 2, onProgress });
    expect(scored).toEqual(await here.score(PROMPT, { topLogprobs: 2, chunkLength: 2 }));
    expect(progress).toEqual([2, 4, 4, 4]);
  });

  it('encodes and decodes', async () => {
    const ids = await there.tokenizer.encode(PROMPT, { addSpecialTokens: false });
    expect(ids).toEqual(here.tokenizer.encode(PROMPT, { addSpecialTokens: false }));
    expect(await there.tokenizer.decode(ids)).toBe(PROMPT);
    await expect(there.tokenizer.decode([5000])).rejects.toThrow(InputError);
  });

  it('tells how much of the prompt is done', async () => {
    const progress: number[] = [];
    const onPrefill = (done: number, total: number) => progress.push(done, total);
    await there.generate('word '.repeat(20), { onPrefill, chunkLength: 8, maxNewTokens: 1 }).result();
    expect(progress.slice(0, 2)).toEqual([8, progress.at(-1)]);
    expect(progress.at(-2)).toBe(progress.at(-1));
  });
});

describe('caches in the thread', () => {
  it('go on, go back, fork, and tell about themselves', async () => {
    const cache = await there.createCache({ policy: 'lastrec', cacheLength: 32 });
    const first = await there.generate(PROMPT, { cache, maxNewTokens: 10 }).result();
    const ids = [...here.tokenizer.encode(PROMPT), ...first.tokens.map(({ token }) => token)];
    // The last token is pending: nothing was computed for it.
    expect(await cache.tokens()).toEqual(ids.slice(0, -1));
    const fork = await cache.fork();
    await cache.truncate(5);
    expect(await cache.tokens()).toEqual(ids.slice(0, 5));
    expect(await fork.tokenPositions(0)).toEqual(ids.slice(1).map((_, i) => i));
    expect((await fork.memory()).keysAndValues).toBeGreaterThan(0);
    const second = await there
      .generate([...ids, 50, 51], { cache: fork, reusePrefix: true, maxNewTokens: 40 })
      .result();
    expect(second.usage.cachedTokens).toBe(ids.length - 1);
    expect(await fork.stats()).toMatchObject({ policy: 'lastrec', held: [32] });
    await expect(fork.truncate(3)).rejects.toThrow(InputError);
    await fork.clear();
    expect(await fork.tokens()).toEqual([]);
    await fork.dispose();
    await expect(fork.stats()).rejects.toThrow(/the cache was disposed of/);
    await cache[Symbol.asyncDispose]();
  });

  it('are used by batches and scores, and saved', async () => {
    await using cache = await there.createCache();
    await there.generateBatch([{ prompt: PROMPT, cache }], { maxNewTokens: 4 }).results();
    const tokens = await cache.tokens();
    expect(tokens).toHaveLength(here.tokenizer.encode(PROMPT).length + 3);
    const path = join(folder, 'there.cache');
    await saveCache(there, cache, path);
    await using loaded = await loadCache(there, path);
    expect(await loaded.tokens()).toEqual(tokens);
    const [a, b] = [await there.score([5, 6], { cache }), await there.score([5, 6], { cache: loaded })];
    expect(b).toEqual(a);
    await expect(loadCache(there, join(folder, 'none'))).rejects.toThrow(SnapshotError);
  });
});

describe('what can not go to another thread', () => {
  it('is refused at once, by name', async () => {
    const processors = [() => {}];
    expect(() => there.generate(PROMPT, { processors })).toThrow(InputError);
    expect(() => there.generate(PROMPT, { processors })).toThrow(/processors is a function, which can't go to another/);
    expect(() => there.chat([], { processors })).toThrow(/processors is a function/);
    expect(() => there.generateBatch([], { processors })).toThrow(/processors is a function/);
    expect(() => there.generate(PROMPT, { speculate: { draft: here } })).toThrow(/speculate.draft is a LanguageModel/);
    const policy = definePolicy({ name: 'mine', score: () => undefined });
    await expect(there.createCache({ policy })).rejects.toThrow(/a policy's functions can't go to another thread/);
    const [result] = await there
      .generateBatch([{ prompt: PROMPT, processors }, PROMPT], { maxNewTokens: 1 })
      .results()
      .catch((e) => [e]);
    expect(result).toBeInstanceOf(InputError);
    await expect(loadModelInWorker({} as never)).rejects.toThrow(InputError);
  });

  it('is not said of what can', async () => {
    const logitBias = new Map([[42, 100]]);
    const { tokens } = await there.generate(PROMPT, { logitBias, maxNewTokens: 2, bannedTokens: [7] }).result();
    expect(tokens.map(({ token }) => token)).toEqual([42, 42]);
  });
});

describe('errors', () => {
  it('are of their classes', async () => {
    const full = there.generate(PROMPT, { cache: { policy: 'dense', cacheLength: 2 } });
    await expect(full.result()).rejects.toThrow(CacheFullError);
    expect(full.partial).toMatchObject({ finishReason: 'error' });
    expect(full.partial!.tokens).toHaveLength(0);
    await expect(full.result()).rejects.toThrow(CacheFullError);
    await expect(there.generate([]).result()).rejects.toThrow(InputError);
    await expect(loadModelInWorker(join(folder, 'nothing', 'here'))).rejects.toThrow(CheckpointError);
    await expect(loadModelInWorker('models/tiny', { ...OPTIONS, weights: 'f64' as never })).rejects.toThrow(
      /no weight format/,
    );
  });

  it('are the reason of an abort, within a step or the next turn of the event loop', async () => {
    const reason = new Error('enough');
    const aborter = new AbortController();
    const run = there.generate(PROMPT, { signal: aborter.signal, maxNewTokens: 4000, eosTokenIds: [] });
    let pieces = 0;
    let after = 0;
    await expect(async () => {
      for await (const _ of run) {
        if (aborter.signal.aborted) after++;
        if (++pieces === 5) aborter.abort(reason);
      }
    }).rejects.toBe(reason);
    // The thread gets the message when its event loop has a turn: some 16 ms later, which are more steps of a small
    // model.
    expect(after).toBeLessThan(100);
    expect(run.partial).toMatchObject({ finishReason: 'aborted' });
    expect(run.partial!.tokens.length).toBeGreaterThanOrEqual(5);
    await expect(there.generate(PROMPT, { signal: AbortSignal.abort(reason) }).result()).rejects.toBe(reason);
    await expect(there.score(PROMPT, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    await expect(loadModelInWorker('models/tiny', { ...OPTIONS, signal: AbortSignal.abort(reason) })).rejects.toBe(
      reason,
    );
  });

  it('leave a model that goes on, as does a reader that leaves', async () => {
    const cache = await there.createCache();
    for await (const _ of there.generate(PROMPT, { cache, maxNewTokens: 4000, eosTokenIds: [] })) break;
    const held = (await cache.tokens()).length;
    expect(held).toBeLessThan(100);
    // Nothing writes into it any more.
    await there.generate(PROMPT, { maxNewTokens: 3 }).result();
    expect(await cache.tokens()).toHaveLength(held);
  });
});

describe('the thread', () => {
  it('tells the progress of loading', async () => {
    const stages: LoadProgress['stage'][] = [];
    const onProgress = ({ stage }: LoadProgress) => stages.push(stage);
    const options = { weights: 'int8', cacheDir: join(folder, 'anew'), onProgress } as const;
    await using model = await loadModelInWorker(caseFolder('llama'), options);
    expect(model.weights).toBe('int8');
    expect(stages).toContain('weights');
  });

  it('ends with the model, and with it what is under way', async () => {
    const model = await loadModelInWorker(caseFolder('llama'), OPTIONS);
    const run = model
      .generate([5, 6, 7], { maxNewTokens: 4000, eosTokenIds: [], cache: { policy: 'lastrec', cacheLength: 8 } })
      .result();
    run.catch(() => undefined);
    await model.dispose();
    await expect(run).rejects.toThrow(/the model was disposed of/);
    await expect(model.generate([5]).result()).rejects.toThrow(InputError);
    await expect(model.createCache()).rejects.toThrow(/the model was disposed of/);
    await model.dispose();
  });

  it('that crashes fails its calls, and nothing else', async () => {
    const model = await loadModelInWorker('models/tiny', {
      ...OPTIONS,
      worker: { resourceLimits: { maxOldGenerationSizeMb: 64 } },
    });
    const cache = await model.createCache();
    const [run, encoded] = [
      model.generate(PROMPT, { maxNewTokens: 4000, eosTokenIds: [], cache: { policy: 'lastrec', cacheLength: 64 } }),
      model.tokenizer.encode('ab '.repeat(3_000_000)),
    ];
    const ended = run.result();
    ended.catch(() => undefined);
    await expect(encoded).rejects.toThrow(WorkerError);
    await expect(ended).rejects.toThrow(/the thread of models\/tiny has crashed: .*memory/);
    expect(run.partial).toBeNull();
    await expect(cache.stats()).rejects.toThrow(WorkerError);
    await expect(model.generate(PROMPT).result()).rejects.toThrow(WorkerError);
    await model.dispose();
    // Others live on.
    expect((await there.generate(PROMPT, { maxNewTokens: 2 }).result()).tokens).toHaveLength(2);
  });
});

describe('the end of the process', () => {
  it('waits for the step of a thread, and keeps its exit code', async () => {
    const entrance = builtUrl(join(import.meta.dirname, '../node.ts'));
    const script = `
      const { loadModelInWorker } = await import(${JSON.stringify(entrance)});
      const model = await loadModelInWorker('models/tiny', ${JSON.stringify({ ...OPTIONS, threads: 1 })});
      let chunks = 0;
      for await (const _ of model.generate('And', { maxNewTokens: 3000, eosTokenIds: [] }))
        if (++chunks === 5) setTimeout(() => process.exit(3), Number(process.argv[2]));`;
    const program = join(folder, 'program.mjs');
    await writeFile(program, script);
    for (const wait of [0, 3, 10]) {
      const { status, signal } = spawnSync(process.execPath, [program, String(wait)], { encoding: 'utf8' });
      expect({ status, signal }).toEqual({ status: 3, signal: null });
    }
  });
});
