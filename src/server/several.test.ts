/**
 * Several answers to a prompt, lists of prompts, and embeddings.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chat, eventsOf, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import { type LanguageModel, loadEncoder } from '../node.ts';
import { createApp } from './app.ts';
import { merged } from './merge.ts';
import { ServedEncoder } from './routes/embeddings.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());
const completion = (prompt: unknown, more: object = {}) => ({
  model: 'tiny',
  prompt,
  max_tokens: 6,
  temperature: 0,
  ...more,
});
const answerTo = async (body: object, more: object = {}) => {
  const app = createApp({ models: [servedModel(model, more).one] });
  const response = await app.fetch(post('messages' in body ? '/v1/chat/completions' : '/v1/completions', body));
  return response.json();
};

describe('several answers', () => {
  it('to one prompt are those of single requests with their seeds; the prompt is counted once', async () => {
    const sampled = { temperature: 1, max_tokens: 6 };
    const { choices, usage } = await answerTo(chat('And it came', { ...sampled, n: 3, seed: 7 }));
    const single = [];
    for (const seed of [7, 8, 9]) single.push(await answerTo(chat('And it came', { ...sampled, seed })));
    expect(choices.map(({ index }: { index: number }) => index)).toEqual([0, 1, 2]);
    expect(choices.map(({ message }: { message: object }) => message)).toEqual(
      single.map((each) => each.choices[0].message),
    );
    const completions = single.reduce((sum, each) => sum + each.usage.completion_tokens, 0);
    expect(usage).toMatchObject({
      prompt_tokens: single[0].usage.prompt_tokens,
      completion_tokens: completions,
      prompt_tokens_details: { cached_tokens: 0 },
    });
  });

  it('need no more rows than there are', async () => {
    const { one } = servedModel(model, { rows: 1 });
    const app = createApp({ models: [one] });
    const ask = () => app.fetch(post('/v1/completions', completion('And', { n: 3 })));
    const answers = await Promise.all([ask(), ask()]);
    for (const answer of answers) expect((await answer.json()).choices).toHaveLength(3);
    expect([one.queue.running, one.queue.waiting]).toEqual([0, 0]);
  });

  it('come from the cache of a session, too, which stays at the prompt', async () => {
    const { one } = servedModel(model);
    const app = createApp({ models: [one] });
    const headers = { 'x-session-id': 'several' };
    const ask = async () =>
      (await app.fetch(post('/v1/completions', completion('In the beginning', { n: 2 }), headers))).json();
    const [first, second] = [await ask(), await ask()];
    expect(second.choices).toEqual(first.choices);
    expect(first.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(second.usage.prompt_tokens_details.cached_tokens).toBeGreaterThan(0);
  });

  it('are told apart in a stream by their index', async () => {
    const app = createApp({ models: [servedModel(model).one] });
    const body = completion(['And it came', 'In the beginning'], {
      n: 2,
      stream: true,
      stream_options: { include_usage: true },
    });
    const events = await eventsOf(await app.fetch(post('/v1/completions', body)));
    expect(events.at(-1)).toBe('[DONE]');
    const chunks = events.slice(0, -1).map((each) => JSON.parse(each));
    const whole = await answerTo(completion(['And it came', 'In the beginning'], { n: 2 }));
    const texts = ['', '', '', ''];
    const finished = new Set<number>();
    for (const { choices } of chunks)
      for (const { index, text, finish_reason: reason } of choices) {
        expect(finished.has(index)).toBe(false);
        texts[index] += text;
        if (reason) finished.add(index);
      }
    expect(texts).toEqual(whole.choices.map(({ text }: { text: string }) => text));
    expect(texts[0]).toBe(texts[1]);
    expect(texts[0]).not.toBe(texts[2]);
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: whole.usage });
  });

  it('are refused where one prompt is wrong, and free their rows', async () => {
    const { one } = servedModel(model, { rows: 2 });
    const app = createApp({ models: [one] });
    const response = await app.fetch(post('/v1/completions', completion(['And', 'word '.repeat(600), 'In'])));
    expect(response.status).toBe(400);
    expect((await response.json()).error.code).toBe('context_length_exceeded');
    await expect.poll(() => one.queue.running).toBe(0);
  });
});

describe('merged', () => {
  it('runs a few at a time, and ends all with the first error', async () => {
    let [running, most, ended] = [0, 0, 0];
    const source = (fails: boolean) =>
      async function* (signal: AbortSignal) {
        most = Math.max(most, ++running);
        try {
          yield 1;
          if (fails) throw new Error('broken');
          await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
        } finally {
          running--;
          ended++;
        }
      };
    const all = merged([false, true, false].map(source), 2, new AbortController().signal);
    const values: number[] = [];
    await expect(
      (async () => {
        for await (const value of all) values.push(value);
      })(),
    ).rejects.toThrow('broken');
    expect(most).toBe(2);
    expect([running, ended]).toEqual([0, 2]);
  });
});

describe('embeddings', () => {
  it('are those of the model, as numbers and as base64', async () => {
    const encoder = await loadEncoder();
    try {
      const app = createApp({
        models: [servedModel(model).one],
        encoders: [new ServedEncoder(encoder, { id: 'vectors', queue: 4, queueMs: 1000 })],
      });
      const ask = async (more: object) =>
        app.fetch(post('/v1/embeddings', { model: 'vectors', input: ['And it came', 'to pass'], ...more }));
      const [expected] = await encoder.embed(['And it came']);
      const { data, usage, object } = await (await ask({})).json();
      expect(object).toBe('list');
      expect(data).toHaveLength(2);
      const difference = data[0].embedding.map((value: number, i: number) => Math.abs(value - expected[i]));
      expect(Math.max(...difference)).toBeLessThan(1e-4);
      expect(usage.prompt_tokens).toBeGreaterThan(3);
      const ids = ['And it came', 'to pass'].map((text) => encoder.tokenizer.encode(text));
      for (const [input, count] of [
        [ids, 2],
        [ids[0], 1],
      ] as const) {
        const same = await (await ask({ input })).json();
        expect(same.data).toHaveLength(count);
        expect(same.usage.prompt_tokens).toBe(ids.slice(0, count).flat().length);
        for (const [i, { embedding }] of same.data.entries())
          for (const [j, value] of embedding.entries()) expect(value).toBeCloseTo(data[i].embedding[j], 4);
      }
      const packed = await (await ask({ encoding_format: 'base64' })).json();
      const bytes = Buffer.from(packed.data[0].embedding, 'base64');
      expect(Array.from({ length: bytes.length / 4 }, (_, i) => bytes.readFloatLE(4 * i))).toEqual(data[0].embedding);
      for (const [more, status, message] of [
        [{ input: '' }, 400, /input/],
        [{ input: [] }, 400, /input: wanted is a text, token ids, or a list/],
        [{ input: [[1], 'a'] }, 400, /input: wanted is/],
        [{ input: [[]] }, 400, /input: wanted is/],
        [{ input: [999_999] }, 400, /999999 is no token id/],
        [{ dimensions: 3 }, 400, /dimensions/],
        [{ model: 'tiny' }, 404, /"tiny" writes texts; models for embeddings are served with --embeddings/],
        [{ model: 'none' }, 404, /there are vectors/],
      ] as const) {
        const refused = await ask(more);
        expect(refused.status).toBe(status);
        expect((await refused.json()).error.message).toMatch(message);
      }
      const asText = await app.fetch(post('/v1/completions', { model: 'vectors', prompt: 'And it came' }));
      expect((await asText.json()).error.message).toBe('the model "vectors" embeds texts: POST /v1/embeddings');
      const list = await (await app.fetch(new Request('http://localhost/v1/models'))).json();
      expect(list.data.map(({ id }: { id: string }) => id)).toEqual(['tiny', 'vectors']);
    } finally {
      await encoder.dispose();
    }
  });
});
