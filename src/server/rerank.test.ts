/**
 * Texts that are ranked, and pairs that are scored.
 */
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeRanker } from '../../test/support/ranker.ts';
import { post } from '../../test/support/served.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { loadReranker, type Reranker } from '../node.ts';
import { createApp } from './app.ts';
import { ServedReranker } from './routes/rerank.ts';

const TEXTS = ['flood', 'raven ark', 'raven'];
let model: Reranker;
beforeAll(async () => {
  const folder = await tempFolder('server-rerank');
  const cacheDir = join(folder, 'cache');
  model = await loadReranker(await makeRanker(join(folder, 'model')), { weights: 'float32', cacheDir });
});
afterAll(() => model.dispose());

const app = () =>
  createApp({ models: [], rerankers: [new ServedReranker(model, { id: 'ranks', queue: 4, queueMs: 10_000 })] });
const ask = async (path: string, body: object, server = app()) => {
  const response = await server.fetch(post(path, { model: 'ranks', ...body }));
  return { status: response.status, ...(await response.json()) };
};

describe('the log', () => {
  it('has a line for each request, with its tokens and its end', async () => {
    const lines: Readonly<Record<string, unknown>>[] = [];
    const rerankers = [new ServedReranker(model, { id: 'ranks', queue: 4, queueMs: 10_000 })];
    const server = createApp({ models: [], rerankers, log: (entry) => lines.push(entry) });
    await ask('/v1/rerank', { query: 'ark', documents: TEXTS }, server);
    await ask('/v1/score', { text_1: 'ark', text_2: TEXTS }, server);
    await ask('/v1/rerank', { query: 'ark', documents: TEXTS, instruction: 'find it' }, server);
    const line = { level: 'info', id: expect.any(String), model: 'ranks', seconds: expect.any(Number) };
    expect(lines).toEqual([
      { ...line, path: '/v1/rerank', finish: 'stop', promptTokens: 16 },
      { ...line, path: '/v1/score', finish: 'stop', promptTokens: 16 },
      { ...line, path: '/v1/rerank', finish: 'error', error: expect.any(String) },
    ]);
    expect(JSON.stringify(lines)).not.toContain('raven');
  });
});

describe('rerank', () => {
  it('gives the texts in the order of their scores', async () => {
    const expected = await model.rerank('ark', TEXTS);
    const { id, object, results, usage, ...rest } = await ask('/v1/rerank', { query: 'ark', documents: TEXTS });
    expect(rest).toEqual({ status: 200, model: 'ranks' });
    expect([id, object]).toEqual([expect.stringMatching(/^rerank-\w{24}$/), 'list']);
    expect(results).toEqual(
      expected.map(({ index, score }) => ({
        index,
        relevance_score: expect.closeTo(score, 5),
        document: { text: TEXTS[index] },
      })),
    );
    // [CLS] ark [SEP] text [SEP]
    expect(usage).toEqual({ prompt_tokens: 16, total_tokens: 16 });
  });

  it('takes texts as objects, and gives the best few without their texts', async () => {
    const expected = await model.rerank('ark', TEXTS);
    const body = { query: { text: 'ark' }, documents: TEXTS.map((text) => ({ text })), return_documents: false };
    for (const path of ['/rerank', '/v2/rerank']) {
      const { results } = await ask(path, { ...body, top_n: 2 });
      const best = expected.slice(0, 2);
      expect(results).toEqual(best.map(({ index, score }) => ({ index, relevance_score: expect.closeTo(score, 5) })));
    }
    expect((await ask('/rerank', { ...body, top_n: 9 })).results).toHaveLength(3);
  });

  it.each([
    [{}, 'query'],
    [{ query: 'ark' }, 'documents'],
    [{ query: 'ark', documents: [] }, 'documents'],
    [{ query: 'ark', documents: ['a', { image: 'x' }] }, 'documents.1.text'],
    [{ query: 'ark', documents: ['a', 5] }, 'documents.1'],
    [{ query: 'ark', documents: ['a'], top_n: 0 }, 'top_n'],
    [{ query: 'ark', documents: ['a'], max_tokens_per_doc: 5 }, 'max_tokens_per_doc'],
    [{ query: 'ark', documents: ['a'], use_activation: false }, 'use_activation'],
    [{ query: 'ark', documents: ['a'], instruction: 'x' }, null],
  ])('refuses %j, and names the field', async (body, param) => {
    const { status, error } = await ask('/v1/rerank', body);
    expect([status, error.type, error.param]).toEqual([400, 'invalid_request_error', param]);
  });
});

it('scores one text with several, and as many with as many', async () => {
  const scores = new Map((await model.rerank('ark', TEXTS)).map(({ index, score }) => [index, score]));
  const { data, object, usage } = await ask('/v1/score', { text_1: 'ark', text_2: TEXTS });
  expect([object, usage.total_tokens]).toEqual(['list', 16]);
  const expected = TEXTS.map((_, index) => ({ index, object: 'score', score: expect.closeTo(scores.get(index)!, 5) }));
  expect(data).toEqual(expected);
  const [ark, raven] = await Promise.all(['ark', 'raven'].map((query) => model.rerank(query, ['flood'])));
  const pairs = await ask('/score', { text_1: ['ark', 'raven'], text_2: ['flood', 'flood'] });
  expect(pairs.data.map(({ score }: { score: number }) => score)).toEqual(
    [ark, raven].map(([{ score }]) => expect.closeTo(score, 5)),
  );
  const refused = await ask('/v1/score', { text_1: ['ark', 'raven'], text_2: TEXTS });
  expect([refused.status, refused.error.param]).toEqual([400, 'text_2']);
});

it('a model that ranks is listed, and named where another one is asked for', async () => {
  const server = app();
  const list = await (await server.fetch(new Request('http://localhost/v1/models'))).json();
  expect(list.data).toMatchObject([{ id: 'ranks', keyhold: { family: 'bert', ranking: true } }]);
  const messages = async (path: string, body: object) => (await ask(path, body, server)).error.message;
  expect(await messages('/v1/completions', { prompt: 'a' })).toBe('the model "ranks" ranks texts: POST /v1/rerank');
  expect(await messages('/v1/embeddings', { input: 'a' })).toBe(
    'the model "ranks" ranks texts; models for embeddings are served with --embeddings',
  );
  expect(await messages('/v1/rerank', { model: 'other', query: 'a', documents: ['a'] })).toMatch(/there are ranks/);
  const none = createApp({ models: [] });
  expect((await ask('/rerank', { query: 'a', documents: ['a'] }, none)).error.message).toMatch(
    /models for ranking are served with --rerank/,
  );
});
