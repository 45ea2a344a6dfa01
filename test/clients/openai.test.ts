/**
 * The server with the client of OpenAI.
 */
import { join } from 'node:path';
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ServedEncoder, ServedReranker, serve } from '../../src/exports/server.ts';
import { loadEncoder, loadReranker } from '../../src/node.ts';
import { makeRanker } from '../support/ranker.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { ANSWERS, KEY, QUESTIONS, startServer, type TestServer } from './start.ts';

let server: TestServer;
let client: OpenAI;
beforeAll(async () => {
  server = await startServer();
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: KEY, maxRetries: 0 });
});
afterAll(() => server.close());

const ask = (content: string, more: { max_tokens?: number } = {}) => ({
  model: 'tiny',
  messages: [{ role: 'user' as const, content }],
  temperature: 0,
  ...more,
});
const weather = (cities: string[]) => ({
  type: 'function' as const,
  function: {
    name: 'weather',
    description: 'The weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string' } } },
    parse: JSON.parse as (text: string) => { city: string },
    function: ({ city }: { city: string }) => {
      cities.push(city);
      return 'clear';
    },
  },
});

describe('the client of OpenAI', () => {
  it('lists the model', async () => {
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['tiny']);
    expect((await client.models.retrieve('tiny')).owned_by).toBe('keyhold');
  });

  it('gets the same text whole, as a stream, and by the stream helper', async () => {
    const whole = await client.chat.completions.create(ask('And it came', { max_tokens: 12 }));
    const stream = await client.chat.completions.create({ ...ask('And it came', { max_tokens: 12 }), stream: true });
    let text = '';
    for await (const { choices } of stream) text += choices[0]?.delta.content ?? '';
    expect(text).toBe(whole.choices[0].message.content);
    const helper = client.chat.completions.stream({
      ...ask('And it came', { max_tokens: 12 }),
      stream_options: { include_usage: true },
    });
    expect(await helper.finalContent()).toBe(text);
    expect(await helper.totalUsage()).toMatchObject(whole.usage!);
  });

  it('gets many answers at once', async () => {
    const several = await Promise.all(
      Array.from({ length: 12 }, (_, i) =>
        client.completions.create({ model: 'tiny', prompt: `Verse ${i}`, max_tokens: 8, temperature: 0 }),
      ),
    );
    expect(several.every(({ usage }) => usage?.completion_tokens === 8)).toBe(true);
  });

  it('runs tools, whole and as a stream', async () => {
    const cities: string[] = [];
    const whole = client.chat.completions.runTools({ ...ask(QUESTIONS.weather), tools: [weather(cities)] });
    expect(await whole.finalContent()).toBe(ANSWERS.weather);
    const stream = client.chat.completions.runTools({
      ...ask(QUESTIONS.twice),
      stream: true,
      tools: [weather(cities)],
    });
    expect(await stream.finalContent()).toBe(ANSWERS.weather);
    expect(cities).toEqual(['Paris', 'Paris', 'Rome']);
  });

  it('parses answers of a schema', async () => {
    const parsed = await client.chat.completions.parse({
      ...ask('A verse'),
      response_format: {
        type: 'json_schema',
        json_schema: {
          name: 'verse',
          strict: true,
          schema: {
            type: 'object',
            properties: { number: { enum: [1, 2] } },
            required: ['number'],
            additionalProperties: false,
          },
        },
      },
    });
    expect([1, 2]).toContain(JSON.parse(parsed.choices[0].message.content!).number);
  });

  it('asks for one of several texts, as vLLM has it', async () => {
    const completion = { model: 'tiny', prompt: [3, 4, 5], temperature: 0 };
    const choice = { ...completion, structured_outputs: { choice: ['yes', 'no'] } };
    expect((await client.completions.create(choice)).choices[0].text).toMatch(/^(yes|no)$/);
    const regex = { ...completion, structured_outputs: { regex: '[ab]{3}' } };
    expect((await client.completions.create(regex)).choices[0].text).toMatch(/^[ab]{3}$/);
    const refused = client.chat.completions.create({ ...ask('And'), structured_outputs: { grammar: 'a' } } as never);
    await expect(refused).rejects.toMatchObject({ status: 400, param: 'structured_outputs.grammar' });
  });

  it('leaves a stream, which frees the row', async () => {
    const left = await client.chat.completions.create({ ...ask('And', { max_tokens: 256 }), stream: true });
    for await (const _ of left) break;
    await expect.poll(() => server.served.queue.running, { timeout: 10_000 }).toBe(0);
  });

  it('gets errors with the status and the reason', async () => {
    await expect(client.chat.completions.create({ ...ask('And'), model: 'other' })).rejects.toMatchObject({
      status: 404,
      code: 'model_not_found',
    });
    const wrong = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'wrong', maxRetries: 0 });
    await expect(wrong.models.list()).rejects.toMatchObject({ status: 401 });
  });
});

it('the client of OpenAI ranks texts by a route that it has no function for', async () => {
  const folder = await tempFolder('client-rerank');
  const ranker = await loadReranker(await makeRanker(join(folder, 'model')));
  const rerankers = [new ServedReranker(ranker, { id: 'ranks', queue: 4, queueMs: 10_000 })];
  const own = await serve({ models: [], rerankers, port: 0, apiKeys: [KEY] });
  try {
    const ranks = new OpenAI({ baseURL: `${own.url}/v1`, apiKey: KEY, maxRetries: 0 });
    const documents = ['flood', 'raven ark', 'raven'];
    const { results } = await ranks.post<{ results: { index: number }[] }>('/rerank', {
      body: { model: 'ranks', query: 'ark', documents },
    });
    expect(results.map(({ index }) => index)).toEqual(
      (await ranker.rerank('ark', documents)).map(({ index }) => index),
    );
  } finally {
    await own.close();
    await ranker.dispose();
  }
});

it('the client of OpenAI gets vectors of texts', async () => {
  const encoder = await loadEncoder();
  const encoders = [new ServedEncoder(encoder, { id: 'vectors', queue: 4, queueMs: 10_000 })];
  const own = await serve({ models: [], encoders, port: 0, apiKeys: [KEY] });
  try {
    const vectors = new OpenAI({ baseURL: `${own.url}/v1`, apiKey: KEY, maxRetries: 0 });
    const input = ['In the beginning', 'And it came to pass'];
    const expected = await encoder.embed(input);
    // The client asks for base64 where nothing is said.
    for (const more of [{}, { encoding_format: 'float' as const }]) {
      const { data, usage } = await vectors.embeddings.create({ model: 'vectors', input, ...more });
      expect(data.map(({ index }) => index)).toEqual([0, 1]);
      for (const [i, { embedding }] of data.entries()) {
        expect(embedding).toHaveLength(expected[i].length);
        for (const [j, value] of embedding.entries()) expect(value).toBeCloseTo(expected[i][j], 5);
      }
      expect(usage.prompt_tokens).toBeGreaterThan(4);
    }
    const ids = input.map((text) => encoder.tokenizer.encode(text));
    const { data } = await vectors.embeddings.create({ model: 'vectors', input: ids });
    for (const [i, { embedding }] of data.entries())
      for (const [j, value] of embedding.entries()) expect(value).toBeCloseTo(expected[i][j], 4);
    await expect(vectors.embeddings.create({ model: 'other', input })).rejects.toMatchObject({ status: 404 });
  } finally {
    await own.close();
    await encoder.dispose();
  }
});
