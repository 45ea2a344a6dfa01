/**
 * Several models: which are in memory, which keys may use them, and what the server lists.
 */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { eventsOf, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { type LanguageModel, loadModelInWorker } from '../node.ts';
import { createApp } from './app.ts';
import { keyCheck, keyName } from './keys-node.ts';
import { OnDemandModel, type OnDemandOptions } from './model-entry.ts';
import { ServedModel } from './served-model.ts';
import { folderStore } from './sessions/store-folder-node.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());

const cacheClasses = [{ name: 'default', options: { policy: 'dense', cacheLength: 512 } }] as const;
const folder = await tempFolder('model-entry');

/** The small model in a thread, and how often it was loaded. */
function onDemand(more: Partial<OnDemandOptions> = {}) {
  const state = { loads: 0, disposed: 0, failures: [] as unknown[] };
  const entry = new OnDemandModel({
    id: 'second',
    cacheClasses,
    onFailure: (_, error) => state.failures.push(error),
    load: async () => {
      state.loads++;
      const thread = await loadModelInWorker();
      const dispose = thread.dispose.bind(thread);
      thread.dispose = () => {
        state.disposed++;
        return dispose();
      };
      const options = { ...servedModel(model).one.options, id: 'second', cacheClasses, store: folderStore(folder) };
      return new ServedModel(thread, options);
    },
    ...more,
  });
  return { entry, state };
}

const ask = (more: object = {}) => ({
  model: 'second',
  prompt: 'In the beginning',
  max_tokens: 8,
  temperature: 0,
  ...more,
});

describe('a model on demand', () => {
  it('is loaded once by the first requests, and listed before', async () => {
    const { entry, state } = onDemand();
    const app = createApp({ models: [servedModel(model).one, entry] });
    const list = async () => (await (await app.fetch(new Request('http://localhost/v1/models'))).json()).data;
    expect(
      (await list()).map((each: { id: string; keyhold: { loaded: boolean } }) => [each.id, each.keyhold.loaded]),
    ).toEqual([
      ['tiny', true],
      ['second', false],
    ]);
    expect(state.loads).toBe(0);
    const answers = await Promise.all(
      ['second', 'tiny', 'second'].map(async (name) =>
        (await app.fetch(post('/v1/completions', ask({ model: name })))).json(),
      ),
    );
    const texts = answers.map((each) => each.choices[0].text);
    expect(new Set(texts).size).toBe(1);
    expect(answers.map((each) => each.model)).toEqual(['second', 'tiny', 'second']);
    expect(state.loads).toBe(1);
    expect((await list())[1].max_model_len).toBe(512);
    const metrics = await (await app.fetch(new Request('http://localhost/metrics'))).text();
    expect(metrics).toContain('keyhold_model_loaded{model_name="second"} 1');
    await entry.dispose();
  });

  it('leaves the memory after its last answer, and its sessions come back', async () => {
    const { entry, state } = onDemand({ idleMs: 60 });
    const app = createApp({ models: [entry] });
    const turn = async (prompt: string) =>
      (
        await app.fetch(
          post('/v1/completions', ask({ prompt, max_tokens: 40, ignore_eos: true }), { 'x-session-id': 'a' }),
        )
      ).json();
    // An answer takes longer than the time without requests.
    const first = await turn('In the beginning God created the heaven and the earth');
    expect(first.usage.completion_tokens).toBe(40);
    await vi.waitFor(() => expect(state.disposed).toBe(1), 5000);
    expect(entry.loaded).toBeNull();
    const caches = await (await app.fetch(new Request('http://localhost/caches'))).json();
    expect(caches.data).toEqual([]);
    const second = await turn(`In the beginning God created the heaven and the earth${first.choices[0].text} And`);
    expect(state.loads).toBe(2);
    expect(second.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(10);
    expect(state.failures).toEqual([]);
    await entry.dispose();
    expect(state.disposed).toBe(2);
  });

  it('stays while a stream is open', async () => {
    const { entry, state } = onDemand({ idleMs: 1 });
    const app = createApp({ models: [entry] });
    const streams = Array.from({ length: 3 }, async () =>
      eventsOf(await app.fetch(post('/v1/completions', ask({ stream: true, max_tokens: 30, ignore_eos: true })))),
    );
    for (const events of await Promise.all(streams)) expect(events.at(-1)).toBe('[DONE]');
    await vi.waitFor(() => expect(state.disposed).toBe(state.loads), 5000);
    await entry.dispose();
  });

  it('is released by requests that are refused and by clients that leave', async () => {
    const { entry, state } = onDemand({ idleMs: 1 });
    const app = createApp({ models: [entry] });
    const wrong = await app.fetch(post('/v1/completions', ask({ cache: 'none' })));
    expect(wrong.status).toBe(400);
    await vi.waitFor(() => expect(state.disposed).toBe(1), 5000);
    const leave = new AbortController();
    const request = post('/v1/completions', ask({ stream: true, max_tokens: 60, ignore_eos: true }));
    const response = await app.fetch(new Request(request, { signal: leave.signal }));
    const reader = response.body!.getReader();
    await reader.read();
    leave.abort();
    await reader.cancel();
    await vi.waitFor(() => expect(state.disposed).toBe(2), 5000);
    await entry.dispose();
  });

  it('that cannot be loaded is refused without paths, and tried again', async () => {
    let broken = true;
    const { entry: whole } = onDemand();
    const { entry, state } = onDemand({
      load: async () => {
        if (broken) throw new Error('/secret/path is missing');
        return (await whole.acquire()).served;
      },
    });
    const app = createApp({ models: [entry] });
    const refused = await app.fetch(post('/v1/completions', ask()));
    expect(refused.status).toBe(503);
    const text = await refused.text();
    expect(JSON.parse(text).error.code).toBe('model_not_loaded');
    expect(text).not.toContain('secret');
    expect(String(state.failures[0])).toContain('/secret/path');
    broken = false;
    expect((await app.fetch(post('/v1/completions', ask()))).status).toBe(200);
    await entry.dispose();
  });
});

it('a key sees and uses the models that it may use', async () => {
  const mine = servedModel(model, { allows: (key) => key === keyName('mine') }).one;
  const { one } = servedModel(model, { id: 'open' });
  const app = createApp({ models: [mine, one], authorize: keyCheck(['mine', 'other']) });
  const as = async (key: string, name: string) => {
    const response = await app.fetch(post('/v1/completions', ask({ model: name }), { authorization: `Bearer ${key}` }));
    return response.status;
  };
  expect([await as('mine', 'tiny'), await as('mine', 'open')]).toEqual([200, 200]);
  expect([await as('other', 'tiny'), await as('other', 'open'), await as('none', 'open')]).toEqual([404, 200, 401]);
  const list = await app.fetch(new Request('http://localhost/v1/models', { headers: { 'x-api-key': 'other' } }));
  expect((await list.json()).data.map(({ id }: { id: string }) => id)).toEqual(['open']);
  const tokens = await app.fetch(post('/tokenize', { prompt: 'In' }, { authorization: 'Bearer other' }));
  expect(tokens.status).toBe(404);
});
