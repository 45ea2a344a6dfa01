/**
 * The routes of the page: what caches hold, and to whom it is told.
 */
import { afterAll, beforeAll, expect, it } from 'vitest';
import { post, servedModel } from '../../../test/support/served.ts';
import { type LanguageModel, loadModel } from '../../node.ts';
import { type AppOptions, createApp } from '../app.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel();
});
afterAll(() => model.dispose());

function appOf(options: Partial<AppOptions> = {}) {
  const cacheClasses = [{ name: 'default', options: { policy: 'h2o', cacheLength: 16 } }] as const;
  return createApp({ models: [servedModel(model, { cacheClasses }).one], ...options });
}

const complete = (session: string, key = 'a') =>
  post(
    '/v1/completions',
    { model: 'tiny', prompt: 'In the beginning', max_tokens: 30, session_id: session },
    { authorization: `Bearer ${key}` },
  );
const get = (path: string, key = 'a') =>
  new Request(`http://localhost${path}`, { headers: { authorization: `Bearer ${key}` } });

it('tells what the cache of a session holds, layer by layer', async () => {
  const app = appOf();
  const answer = await (await app.fetch(complete('one'))).json();
  const { data } = await (await app.fetch(get('/caches'))).json();
  expect(data).toMatchObject([
    { model: 'tiny', cache: 'default', session: 'one', busy: false, policy: 'h2o', held: 16 },
  ]);
  const response = await app.fetch(get('/caches/contents?model=tiny&cache=default&session=one'));
  const { contents, stats, tokens, memory } = await response.json();
  expect(contents.length).toBe(answer.usage.total_tokens - 1);
  expect(tokens).toHaveLength(contents.length);
  expect(stats.held).toEqual([16]);
  expect(memory.keysAndValues).toBeGreaterThan(0);
  const layers = contents.layerGroups.flatMap((group: { layers: number[] }) => group.layers);
  expect(layers.sort()).toEqual([0, 1, 2, 3, 4, 5]);
  for (const { groups } of contents.layerGroups)
    for (const { positions, scores } of groups) {
      expect(positions).toHaveLength(16);
      expect(positions).toEqual([...positions].sort((a, b) => a - b));
      expect(scores).toHaveLength(16);
    }
});

it('shows a key its own sessions only', async () => {
  const app = appOf({ authorize: (key) => (key === 'a' || key === 'b' ? key : null) });
  await (await app.fetch(complete('one', 'a'))).text();
  const sessions = async (key: string) =>
    (await (await app.fetch(get('/caches', key))).json()).data.map((each: { session: string }) => each.session);
  expect(await sessions('a')).toEqual(['one']);
  expect(await sessions('b')).toEqual([]);
  const path = '/caches/contents?model=tiny&cache=default&session=one';
  expect((await app.fetch(get(path, 'b'))).status).toBe(404);
  expect((await app.fetch(get(path, 'c'))).status).toBe(401);
});

it('serves the files of the page without a key, and nothing else', async () => {
  const body = new TextEncoder().encode('<!doctype html>');
  const page = new Map([['', { type: 'text/html; charset=utf-8', body }]]);
  const app = appOf({ authorize: () => null, page });
  const response = await app.fetch(new Request('http://localhost/'));
  expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
  expect(response.headers.get('content-security-policy')).toMatch(/default-src 'self'/);
  expect(await response.text()).toBe('<!doctype html>');
  expect((await app.fetch(new Request('http://localhost/assets/none.js'))).status).toBe(401);
  expect((await appOf().fetch(new Request('http://localhost/'))).status).toBe(404);
});
