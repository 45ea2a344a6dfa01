/**
 * The server with the clients of Anthropic's protocol: its own SDK, and the AI SDK's.
 */
import { createAnthropic } from '@ai-sdk/anthropic';
import Anthropic from '@anthropic-ai/sdk';
import { generateText, jsonSchema, stepCountIs, streamText, tool } from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANSWERS, KEY, QUESTIONS, startServer, type TestServer } from './start.ts';

let server: TestServer;
beforeAll(async () => {
  server = await startServer();
});
afterAll(() => server.close());

const schema = { type: 'object' as const, properties: { city: { type: 'string' as const } }, required: ['city'] };

describe('the client of Anthropic', () => {
  const client = () => new Anthropic({ baseURL: server.url, apiKey: KEY, maxRetries: 0 });
  const ask = (content: string, max_tokens = 12) => ({
    model: 'tiny',
    max_tokens,
    temperature: 0,
    messages: [{ role: 'user' as const, content }],
  });

  it('gets the same text whole and as a stream, and counts tokens', async () => {
    const whole = await client().messages.create(ask('And it came'));
    expect(whole).toMatchObject({ stop_reason: 'max_tokens', usage: { output_tokens: 12 } });
    const streamed = await client().messages.stream(ask('And it came')).finalMessage();
    expect(streamed.content).toEqual(whole.content);
    const { model, messages } = ask('And it came');
    const { input_tokens } = await client().messages.countTokens({ model, messages });
    expect(input_tokens).toBe(whole.usage.input_tokens + (whole.usage.cache_read_input_tokens ?? 0));
  });

  it('calls tools and answers with their results', async () => {
    const tools = [{ name: 'weather', input_schema: schema }];
    const question = ask(QUESTIONS.twice, 256);
    const answer = await client()
      .messages.stream({ ...question, tools })
      .finalMessage();
    expect(answer.stop_reason).toBe('tool_use');
    const calls = answer.content.flatMap((block) => (block.type === 'tool_use' ? [block] : []));
    expect(calls.map(({ input }) => input)).toEqual([{ city: 'Paris' }, { city: 'Rome' }]);
    const results = calls.map(({ id }) => ({ type: 'tool_result' as const, tool_use_id: id, content: 'clear' }));
    const last = await client().messages.create({
      ...question,
      tools,
      messages: [
        ...question.messages,
        { role: 'assistant', content: answer.content },
        { role: 'user', content: results },
      ],
    });
    expect(last.content).toMatchObject([{ type: 'text', text: ANSWERS.weather }]);
  });

  it('leaves a stream, which frees the row, and gets errors with the reason', async () => {
    for await (const _ of await client().messages.create({ ...ask('And', 256), stream: true })) break;
    await expect.poll(() => server.served.queue.running, { timeout: 10_000 }).toBe(0);
    await expect(client().messages.create({ ...ask('And'), model: 'other' })).rejects.toMatchObject({ status: 404 });
    const wrong = new Anthropic({ baseURL: server.url, apiKey: 'wrong', maxRetries: 0 });
    await expect(wrong.messages.create(ask('And'))).rejects.toMatchObject({ status: 401 });
  });
});

describe('the AI SDK with @ai-sdk/anthropic', () => {
  const asked = (prompt: string) => ({
    model: createAnthropic({ baseURL: `${server.url}/v1`, apiKey: KEY })('tiny'),
    maxRetries: 0,
    temperature: 0,
    maxOutputTokens: 256,
    prompt,
  });

  it('gets the same text whole and as a stream', async () => {
    const call = { ...asked('And it came'), maxOutputTokens: 12 };
    const whole = await generateText(call);
    expect(whole.finishReason).toBe('length');
    expect(await streamText(call).text).toBe(whole.text);
  });

  it('calls tools and answers with their results', async () => {
    const cities: string[] = [];
    const execute = async ({ city }: { city: string }) => {
      cities.push(city);
      return 'clear';
    };
    const tools = { weather: tool({ inputSchema: jsonSchema<{ city: string }>(schema), execute }) };
    const { text } = await generateText({ ...asked(QUESTIONS.twice), tools, stopWhen: stepCountIs(3) });
    expect([text, cities.sort()]).toEqual([ANSWERS.weather, ['Paris', 'Rome']]);
  });

  it('gets thoughts apart', async () => {
    const { reasoningText, text } = await generateText(asked(QUESTIONS.think));
    expect([reasoningText, text]).toEqual([ANSWERS.thought, ANSWERS.think]);
  });
});
