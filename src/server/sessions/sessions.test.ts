/**
 * Caches of conversations: waits, shared beginnings, saves, and servers that share a store.
 */
import { mkdtemp, readdir, rm, stat, utimes } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventsOf, loadChatModel, post, servedModel } from '../../../test/support/served.ts';
import type { LanguageModel } from '../../node.ts';
import { createApp, type ServerApp } from '../app.ts';
import { NameLocks } from './name-locks.ts';
import { folderStore } from './store-folder-node.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());

const TEXT =
  'In the beginning God created the heaven and the earth. And the earth was without form, and void; and darkness was upon the face of ' +
  'the deep. And the Spirit of God moved upon the face of the waters. And God said, Let there be light: and there was light.';
const body = (prompt: string, more: object = {}) => ({ model: 'tiny', prompt, max_tokens: 6, temperature: 0, ...more });
const ask = async (app: ServerApp, prompt: string, more: object = {}, headers = {}) => {
  const response = await app.fetch(post('/v1/completions', body(prompt, more), headers));
  const answer = await response.json();
  return {
    text: answer.choices?.[0].text as string,
    cached: answer.usage?.prompt_tokens_details.cached_tokens as number,
    prompt: answer.usage?.prompt_tokens as number,
    error: answer.error,
  };
};
const inSession = { 'x-session-id': 'talk' };

describe('sessions', () => {
  it('let a second request wait for the first, in the order of requests', async () => {
    const { one } = servedModel(model);
    const app = createApp({ models: [one] });
    const order: number[] = [];
    const all = [0, 1, 2].map(async (i) => {
      const answer = await ask(app, `${TEXT} ${i}`, { max_tokens: 12 }, inSession);
      order.push(i);
      return answer;
    });
    for (const answer of await Promise.all(all)) expect(answer.error).toBeUndefined();
    expect(order).toEqual([0, 1, 2]);
    expect([one.queue.running, one.queue.waiting]).toEqual([0, 0]);
  });

  it('refuse a request that waits for too long, and forget one that has left', async () => {
    const { one } = servedModel(model, { queueMs: 50 });
    const unlock = await one.sessions.lock(
      { name: 'x', owner: { key: '', cacheClass: '', id: 'x' }, waits: true },
      new AbortController().signal,
    );
    const locked = { name: 'x', owner: { key: '', cacheClass: '', id: 'x' }, waits: true };
    await expect(one.sessions.lock(locked, new AbortController().signal)).rejects.toMatchObject({
      code: 'session_busy',
    });
    await expect(one.sessions.lock(locked, AbortSignal.timeout(5))).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(await one.sessions.lock({ ...locked, waits: false }, new AbortController().signal)).toBeNull();
    unlock!();
    expect(await one.sessions.lock({ ...locked, waits: false }, new AbortController().signal)).not.toBeNull();
  });

  it('are named by the user, who is not kept waiting', async () => {
    const { one } = servedModel(model);
    const app = createApp({ models: [one] });
    const answers = await Promise.all([0, 1, 2].map((i) => ask(app, `${TEXT} ${i}`, { user: 'me' })));
    for (const { error } of answers) expect(error).toBeUndefined();
    expect(one.sessions.list().map(({ owner }) => owner.id)).toEqual(['me']);
  });

  it('are saved after each answer, so that another server goes on when this one is gone', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-sessions-'));
    try {
      const mine = servedModel(model, { store: folderStore(folder) });
      const here = createApp({ models: [mine.one] });
      const there = servedModel(model, { store: folderStore(folder) });
      const first = await ask(here, TEXT, {}, inSession);
      // A file has another name until it is whole.
      await expect.poll(async () => (await readdir(folder)).filter((name) => name.endsWith('.khc'))).toHaveLength(1);
      // Nobody has told the first server to end.
      const second = await ask(createApp({ models: [there.one] }), `${TEXT}${first.text} And`, {}, inSession);
      expect(second.cached).toBeGreaterThanOrEqual(first.prompt);
      await there.one.sessions.saveAll();
      // What the other server has saved is newer than the cache of this one.
      const third = await ask(here, `${TEXT}${first.text} And${second.text} God`, {}, inSession);
      expect(third.cached).toBeGreaterThanOrEqual(second.prompt);
      await mine.one.sessions.saveAll();
      expect([...mine.losses, ...there.losses]).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('that requests have are waited for before all are saved: an answer that is broken off at the end is kept', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-sessions-'));
    try {
      const { one, losses } = servedModel(model, { store: folderStore(folder) });
      const owner = { key: '', cacheClass: '', id: 'x' };
      const taken = await one.sessions.take({
        space: '',
        session: { name: 'x', owner, waits: true },
        prompt: [1],
        create: async () => model.createCache(),
      });
      const saved: string[] = [];
      const all = one.sessions.saveAll().then(async () => saved.push(...(await readdir(folder))));
      await model.prefill(taken.cache as never, [1, 2, 3]);
      expect(saved).toEqual([]);
      await taken.giveBack(true);
      await all;
      expect(saved).toEqual(['x.khc']);
      expect(losses).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('lose the oldest files where the folder is full', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-sessions-'));
    try {
      const store = folderStore(folder, 250);
      await store.save('a', new Uint8Array(100), null);
      await store.save('b', new Uint8Array(100), null);
      await utimes(join(folder, 'a.khc'), new Date(1000), new Date(2000));
      await store.save('c', new Uint8Array(100), null);
      expect((await readdir(folder)).sort()).toEqual(['b.khc', 'c.khc']);
      expect(await store.load('a')).toBeNull();
      expect(await store.version!('a')).toBeNull();
      expect(await store.version!('b')).not.toBe(await store.version!('c'));
      await store.save('d', new Uint8Array(1000), null);
      expect((await readdir(folder)).map((name) => name)).toEqual(['d.khc']);
      expect((await stat(join(folder, 'd.khc'))).size).toBe(1000);
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

describe('shared beginnings', () => {
  it('are computed once: a prompt that goes on takes the cache, another one a copy', async () => {
    const { one } = servedModel(model);
    const app = createApp({ models: [one] });
    const first = await ask(app, TEXT);
    expect(first.cached).toBe(0);
    const longer = await ask(app, `${TEXT}${first.text} And God said`);
    expect(longer.cached).toBeGreaterThanOrEqual(first.prompt);
    expect(one.sessions.count).toBe(1);
    // This one leaves the conversation early, which must stay as it is.
    const title = await ask(app, `${TEXT.slice(0, 80)} Title:`);
    expect(title.cached).toBeGreaterThan(15);
    expect(one.sessions.count).toBe(2);
    const again = await ask(app, `${TEXT}${first.text} And God said${longer.text} Let`);
    expect(again.cached).toBeGreaterThanOrEqual(longer.prompt);
    const other = createApp({ models: [servedModel(model).one] });
    expect((await ask(other, `${TEXT.slice(0, 80)} Title:`)).text).toBe(title.text);
  });

  it('of a session that a request leaves are found again without its name', async () => {
    const { one } = servedModel(model);
    const app = createApp({ models: [one] });
    const first = await ask(app, TEXT, {}, inSession);
    const title = await ask(app, `${TEXT.slice(0, 120)} Title:`, {}, inSession);
    expect(title.cached).toBeGreaterThan(0);
    const next = await ask(app, `${TEXT}${first.text} And`, {}, inSession);
    expect(next.cached).toBeGreaterThanOrEqual(first.prompt);
  });

  it('are not shared between keys and classes, nor used where they were evicted', async () => {
    const app = createApp({ models: [servedModel(model).one], authorize: (key) => key });
    const key = (name: string) => ({ authorization: `Bearer ${name}` });
    await ask(app, TEXT, {}, key('a'));
    expect((await ask(app, TEXT, {}, key('b'))).cached).toBe(0);
    expect((await ask(app, TEXT, { cache: 'short' }, key('a'))).cached).toBe(0);
    expect((await ask(app, `${TEXT.slice(0, 80)} Title:`, { cache: 'short' }, key('a'))).cached).toBe(0);
    expect((await ask(app, TEXT, {}, key('a'))).cached).toBeGreaterThan(15);
  });

  it('are kept within limits of number and bytes', async () => {
    const few = servedModel(model, { sessions: 2 }).one;
    const none = servedModel(model, { cacheBytes: 1 }).one;
    for (const one of [few, none]) {
      const app = createApp({ models: [one] });
      for (const start of ['A', 'B', 'C', 'D']) await ask(app, `${start} ${TEXT}`);
    }
    expect(few.sessions.count).toBe(2);
    expect([none.sessions.count, none.sessions.bytes]).toEqual([0, 0]);
  });

  it('are the same text for many requests at once', async () => {
    const { one } = servedModel(model);
    const app = createApp({ models: [one] });
    const prompts = Array.from({ length: 12 }, (_, i) => `${TEXT.slice(0, 40 + 5 * (i % 6))} ${i % 3}`);
    const answers = await Promise.all(prompts.map((prompt) => ask(app, prompt)));
    const again = await Promise.all(prompts.map((prompt) => ask(app, prompt)));
    for (const [i, answer] of answers.entries()) {
      expect(answer.error).toBeUndefined();
      expect(again[i].text.slice(0, 4)).toBe(answer.text.slice(0, 4));
    }
    const stream = await eventsOf(await app.fetch(post('/v1/completions', body(prompts[0], { stream: true }))));
    expect(stream.at(-1)).toBe('[DONE]');
  });
});

it('names are given in the order of requests', async () => {
  const locks = new NameLocks(1000, () => new Error('late'));
  const { signal } = new AbortController();
  const first = await locks.take('a', signal);
  const order: string[] = [];
  const wait = async (name: string) => {
    const unlock = await locks.take('a', signal);
    order.push(name);
    unlock();
  };
  const gone = new AbortController();
  const left = locks.take('a', gone.signal);
  const all = [wait('b'), wait('c')];
  gone.abort(new Error('left'));
  await expect(left).rejects.toThrow('left');
  first();
  first();
  await Promise.all(all);
  expect(order).toEqual(['b', 'c']);
  expect(locks.isTaken('a')).toBe(false);
});
