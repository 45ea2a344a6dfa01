import { writeFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { MessageChannel } from 'node:worker_threads';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { builtUrl } from '../../test/support/built.ts';
import { PLAIN } from '../../test/support/chat-templates.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { Conversation } from '../chat/conversation.ts';
import type { TextCache, TextModel } from '../engine/text-model.ts';
import { POLICIES } from '../kvcache/policies.ts';
import type { CacheStep } from '../kvcache/rows/events.ts';
import {
  CacheBusyError,
  InputError,
  type LanguageModel,
  loadConversation,
  loadModel,
  loadModelInWorker,
  saveConversation,
  TINY_ADAPTER,
  type WorkerModel,
} from '../node.ts';
import { answerer, Caller } from './rpc.ts';
import type { Request, Response } from './wire.ts';

const folder = await tempFolder('text-model');
const OPTIONS = { weights: 'float32', cacheDir: join(folder, 'cache'), generationConfig: false } as const;
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
/** The same program with both models; what it gives must be equal. */
async function both<T>(run: <C extends TextCache>(model: TextModel<C>) => Promise<T>): Promise<[T, T]> {
  return [await run(here), await run(there)];
}

describe('a program that takes any TextModel', () => {
  it('holds conversations, and goes on with saved ones', async () => {
    const [a, b] = await both(async (model) => {
      const conversation = new Conversation(model, { template: PLAIN, maxNewTokens: 8, cache: { cacheLength: 128 } });
      const texts: string[] = [];
      for (const text of ['Hello', 'And then?']) texts.push(await conversation.say(text).text());
      const path = join(folder, `${model.constructor.name}.json`);
      await saveConversation(model, conversation, path);
      const later = await loadConversation(model, path, { template: PLAIN, maxNewTokens: 8 });
      const { text, usage } = await later.say('Why?').result();
      expect(usage.cachedTokens).toBeGreaterThan(10);
      return [...texts, text, ...later.messages.map(({ content }) => content)];
    });
    expect(b).toEqual(a);
    expect(a).toHaveLength(9);
  });

  it('saves caches as bytes and forks them, with their pending tokens', async () => {
    const [a, b] = await both(async (model) => {
      const cache = await model.createCache({ policy: 'lastrec', cacheLength: 32 });
      await model.generate(PROMPT, { cache, maxNewTokens: 5 }).result();
      const restored = await model.restore(await model.snapshot(cache), { transfer: true });
      const fork = (await cache.fork()) as typeof cache;
      expect(await restored.pending()).toEqual(await fork.pending());
      expect(await fork.pending()).toHaveLength(1);
      const texts = [];
      for (const one of [restored, fork])
        texts.push(await model.generate(' and', { cache: one, maxNewTokens: 6 }).text());
      expect(texts[1]).toBe(texts[0]);
      await cache.dispose();
      await expect(model.generate(PROMPT, { cache }).result()).rejects.toThrow(/the cache was disposed of/);
      return texts;
    });
    expect(b).toEqual(a);
  });

  it('listens to the steps of a cache', async () => {
    const [a, b] = await both(async (model) => {
      const cache = await model.createCache({ policy: 'lastrec', cacheLength: 8 });
      const steps: CacheStep[] = [];
      const stop = cache.on('step', (step) => steps.push(step));
      // Others share their steps; a cache that is listened to tells its own.
      await Promise.all([
        model.generate(PROMPT, { maxNewTokens: 10, eosTokenIds: [] }).result(),
        model.generate(PROMPT, { cache, maxNewTokens: 10, eosTokenIds: [], chunkLength: 64 }).result(),
      ]);
      await cache.stats(); // events come before the results of later calls
      stop();
      const count = steps.length;
      await model.generate(PROMPT, { cache, maxNewTokens: 3 }).result();
      expect(steps).toHaveLength(count);
      return steps;
    });
    expect(b).toEqual(a);
    expect(a.length).toBeGreaterThanOrEqual(10);
    expect(a.at(-1)!.groups[0].evicted).toHaveLength(1);
  });

  it('loads adapters by their path, chooses among them, and forgets them', async () => {
    const [a, b] = await both(async (model) => {
      const before = model.fingerprint;
      await model.adapters.load(TINY_ADAPTER, 'jargon');
      expect(model.adapters.names).toEqual(['jargon']);
      const options = { maxNewTokens: 12 };
      const texts = [await model.generate(PROMPT, { ...options, adapters: 'jargon' }).text()];
      texts.push(await model.generate(PROMPT, options).text());
      await model.adapters.use('jargon');
      expect(model.adapters.default).toEqual(['jargon']);
      expect(model.fingerprint).not.toBe(before);
      texts.push(await model.generate(PROMPT, options).text());
      await expect((async () => model.adapters.unload('none'))()).rejects.toThrow(InputError);
      await model.adapters.use([]);
      await model.adapters.unload('jargon');
      expect(model.adapters.names).toEqual([]);
      return texts;
    });
    expect(b).toEqual(a);
    expect(a[2]).toBe(a[0]);
    expect(a[1]).not.toBe(a[0]);
  });

  it('finds a cache busy while a generation has it, and only that request fails', async () => {
    await both(async (model) => {
      const cache = await model.createCache();
      const options = { cache, maxNewTokens: 40, eosTokenIds: [] };
      const [one, two] = await Promise.allSettled([
        model.generate(PROMPT, options).result(),
        model.generate(PROMPT, options).result(),
      ]);
      expect(one.status).toBe('fulfilled');
      expect(two).toMatchObject({ status: 'rejected', reason: expect.any(CacheBusyError) });
    });
  });

  it('fails the request of a batch that names a released cache, and no other', async () => {
    await both(async (model) => {
      const cache = await model.createCache();
      await cache.dispose();
      const requests = [{ prompt: PROMPT }, { id: 'stale', prompt: PROMPT, cache }, { id: 'good', prompt: 'And' }];
      const results = await model.generateBatch(requests, { maxNewTokens: 4, stop: ['never'] }).results();
      const ends = new Map(results.map((event) => [event.id, event]));
      expect(ends.get('stale')).toMatchObject({ type: 'error', error: expect.any(InputError) });
      for (const id of [0, 'good'])
        expect(ends.get(id)).toMatchObject({ type: 'end', result: { finishReason: 'length' } });
    });
  });

  it('learns which stop string ended a text', async () => {
    const [a, b] = await both(async (model) => {
      const { finishReason, stopString } = await model.generate(PROMPT, { stop: ['never', ' the'] }).result();
      return { finishReason, stopString };
    });
    expect(a).toEqual({ finishReason: 'stop', stopString: ' the' });
    expect(b).toEqual(a);
  });
});

describe('names of before', () => {
  it('say the new ones', async () => {
    await both(async (model) => {
      const run = model.generate(PROMPT, { maxNewTokens: 1 });
      expect(() => run.done()).toThrow(/done\(\) is called result\(\) now/);
      expect(() => run.summary).toThrow(/summary is called partial now/);
      expect(() => model.generateBatch([PROMPT]).done()).toThrow(/done\(\) is called results\(\) now/);
      const conversation = new Conversation(model, { template: PLAIN });
      expect(() => conversation.say('Hello').done()).toThrow(InputError);
    });
    for (const model of [here, there]) expect(() => model.release()).toThrow(/release\(\) is called dispose\(\) now/);
    expect(() => there.resolveCache().save()).toThrow(/saveCache\(model, cache, path\)/);
  });
});

describe('a model in a worker', () => {
  it('takes a policy from a module', async () => {
    const source = builtUrl(join(import.meta.dirname, '../kvcache/policy/define-policy.ts'));
    const module = join(folder, 'policy.mjs');
    const text = `import { definePolicy } from ${JSON.stringify(source)};
      export default definePolicy({ name: 'youngest', score: ({ positions, length }) => { const out = []; for (let i = 0; i < length; i++) out.push(positions[i]); return out; } });`;
    await writeFile(module, text);
    const options = { policyModule: module, cacheLength: 16 };
    const cache = await there.createCache(options);
    const prompt = [...Array(40).keys()].map((i) => 50 + i);
    await there.generate(prompt, { cache, maxNewTokens: 4 }).result();
    expect(await cache.stats()).toMatchObject({ policy: 'youngest', held: [16] });
    const saved = await there.snapshot(cache);
    const again = await there.restore(saved, { policyModule: pathToFileURL(module) });
    expect(await again.stats()).toMatchObject({ policy: 'youngest' });
    await expect(there.restore(saved)).rejects.toThrow();
    const { cache: stats } = await there.generate(prompt, { cache: options, maxNewTokens: 2 }).result();
    expect(stats.policy).toBe('youngest');
    const results = await there.generateBatch([{ prompt, cache: options }, { prompt }], { maxNewTokens: 2 }).results();
    expect(results.map((end) => end.type === 'end' && end.result.cache.policy).sort()).toEqual(['dense', 'youngest']);
    const missing = there.generate(prompt, { cache: { policyModule: join(folder, 'none.mjs') } });
    await expect(missing.result()).rejects.toThrow(/policy .*none.mjs can't be loaded/);
    await writeFile(join(folder, 'wrong.mjs'), 'export default 3;');
    await expect(there.createCache({ policyModule: join(folder, 'wrong.mjs') })).rejects.toThrow(
      /wrong.mjs exports no cache policy/,
    );
    expect(() => here.createCache(options)).toThrow(/policyModule is for models in workers/);
    // As an object without definePolicy, within another policy, by a path with what ends a name.
    const plain = join(folder, 'a,(b).mjs');
    await writeFile(
      plain,
      `export default { name: 'plain', score: ({ positions, length }) => positions.slice(0, length) };`,
    );
    const mixed = await there.createCache({ policyModule: `mix(${relative('.', module)}, h2o)`, cacheLength: 16 });
    expect(await mixed.stats()).toMatchObject({ policy: 'mix(youngest, h2o)' });
    expect(await (await there.createCache({ policyModule: plain })).stats()).toMatchObject({ policy: 'plain' });
    expect(() => there.generate(prompt, { cache: { policy: POLICIES['h2o'] } })).toThrow(
      /as policyModule: "\.\/policy.mjs"/,
    );
  });

  it('refuses caches of other models', async () => {
    const cache = here.createCache();
    expect(() => there.generate(PROMPT, { cache: cache as never })).toThrow(/can't go to another thread/);
    const its = await there.createCache();
    expect(() => here.generate(PROMPT, { cache: its as never })).toThrow(/belongs to a model in a worker/);
    await using other = await loadModelInWorker('models/tiny', OPTIONS);
    expect(() => other.generate(PROMPT, { cache: its })).toThrow(/belongs to another model/);
  });

  it('says at the first use what is wrong with the cache of a conversation', async () => {
    const conversation = new Conversation(there, { template: PLAIN, cache: { policy: 'nothing' } });
    await expect(conversation.say('Hello').result()).rejects.toThrow(/there is no cache policy "nothing"/);
  });
});

describe('messages from a thread', () => {
  it('are one for all that a turn of the event loop gives', async () => {
    const { port1, port2 } = new MessageChannel();
    const received: (readonly Response[])[] = [];
    const caller = new Caller(port1);
    port1.on('message', (responses: readonly Response[]) => {
      received.push(responses);
      caller.receive(responses);
    });
    const answer = answerer(port2 as never, {
      async count({ to }: { to: number }, { emit }) {
        for (let i = 0; i < to; i++) emit(i);
        return to;
      },
      broken: async () => () => {},
    });
    port2.on('message', (request: Request) => answer(request));
    const events: number[] = [];
    const onEvent = (event: number) => events.push(event);
    const calls = [3, 5].map((to) => caller.call<number>('count', { to }, { onEvent } as never).done);
    expect(await Promise.all(calls)).toEqual([3, 5]);
    expect(events).toHaveLength(8);
    expect(received.length).toBeLessThanOrEqual(2);
    expect(received.flat()).toHaveLength(10);
    // What can't be copied fails its own call only.
    const [good, broken] = [caller.call('count', { to: 1 }).done, caller.call('broken', {}).done];
    await expect(broken).rejects.toThrow(/could not be cloned/);
    expect(await good).toBe(1);
    port1.close();
  });
});
