/**
 * The server with LangChain's client of OpenAI's protocol.
 */
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { ChatOpenAI } from '@langchain/openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANSWERS, KEY, QUESTIONS, startServer, type TestServer } from './start.ts';

let server: TestServer;
const model = (more: { maxTokens?: number } = {}) =>
  new ChatOpenAI({
    model: 'tiny',
    apiKey: KEY,
    temperature: 0,
    maxRetries: 0,
    maxTokens: 256,
    configuration: { baseURL: `${server.url}/v1` },
    ...more,
  });

beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const WEATHER = {
  type: 'function' as const,
  function: {
    name: 'weather',
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
};

describe('LangChain', () => {
  it('gives the same text whole and as a stream, with numbers of tokens', async () => {
    const whole = await model({ maxTokens: 12 }).invoke('And it came to pass');
    expect(whole.usage_metadata).toMatchObject({ output_tokens: 12 });
    let text = '';
    let tokens = 0;
    for await (const chunk of await model({ maxTokens: 12 }).stream('And it came to pass')) {
      text += chunk.content;
      tokens += chunk.usage_metadata?.output_tokens ?? 0;
    }
    expect(text).toBe(whole.content);
    expect(tokens).toBe(12);
  });

  it('calls tools and answers with their results', async () => {
    const withTools = model().bindTools([WEATHER]);
    const question = new HumanMessage(QUESTIONS.twice);
    const answer = await withTools.invoke([question]);
    expect(answer.tool_calls?.map(({ name, args }) => [name, args])).toEqual([
      ['weather', { city: 'Paris' }],
      ['weather', { city: 'Rome' }],
    ]);
    const results = answer.tool_calls!.map((call) => new ToolMessage({ content: 'clear', tool_call_id: call.id! }));
    expect((await withTools.invoke([question, answer, ...results])).content).toBe(ANSWERS.weather);
    const streamed: string[] = [];
    for await (const chunk of await withTools.stream(QUESTIONS.weather))
      streamed.push(...(chunk.tool_call_chunks ?? []).map(({ args }) => args ?? ''));
    expect(JSON.parse(streamed.join(''))).toEqual({ city: 'Paris' });
  });

  it('gets objects of a schema', async () => {
    const schema = {
      title: 'verse',
      type: 'object',
      properties: { number: { enum: [1, 2] } },
      required: ['number'],
      additionalProperties: false,
    };
    const structured = model().withStructuredOutput<{ number: number }>(schema, { method: 'jsonSchema' });
    expect([1, 2]).toContain((await structured.invoke('A verse')).number);
  });

  it('ends an answer by a signal, which frees the row', async () => {
    const leave = new AbortController();
    const read = async () => {
      for await (const _ of await model({ maxTokens: 256 }).stream('And', { signal: leave.signal })) leave.abort();
    };
    await expect(read()).rejects.toThrow(/abort/i);
    await expect.poll(() => server.served.queue.running, { timeout: 10_000 }).toBe(0);
  });

  it('gets errors with the status and the reason', async () => {
    await expect(model().invoke('word '.repeat(1200))).rejects.toMatchObject({
      status: 400,
      code: 'context_length_exceeded',
    });
  });
});
