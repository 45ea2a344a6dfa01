/**
 * The server with the AI SDK and @ai-sdk/openai-compatible.
 */
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from 'ai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ANSWERS, KEY, QUESTIONS, startServer, type TestServer } from './start.ts';

let server: TestServer;
let asked: {
  model: ReturnType<ReturnType<typeof createOpenAICompatible>['chatModel']>;
  maxRetries: 0;
  temperature: 0;
  maxOutputTokens: number;
};

beforeAll(async () => {
  server = await startServer();
  const provider = createOpenAICompatible({
    name: 'keyhold',
    baseURL: `${server.url}/v1`,
    apiKey: KEY,
    includeUsage: true,
    supportsStructuredOutputs: true,
  });
  asked = { model: provider.chatModel('tiny'), maxRetries: 0, temperature: 0, maxOutputTokens: 256 };
});
afterAll(() => server.close());

const weather = () => {
  const cities: string[] = [];
  const tools = {
    weather: tool({
      description: 'The weather of a city',
      inputSchema: jsonSchema<{ city: string }>({
        type: 'object',
        properties: { city: { type: 'string' } },
        required: ['city'],
      }),
      execute: async ({ city }) => {
        cities.push(city);
        return { sky: 'clear' };
      },
    }),
  };
  return { cities, tools };
};
const verse = jsonSchema<{ number: number }>({
  type: 'object',
  properties: { number: { enum: [1, 2] } },
  required: ['number'],
  additionalProperties: false,
});

describe('the AI SDK over HTTP', () => {
  it('gives the same text whole and as a stream, with numbers of tokens', async () => {
    const whole = await generateText({ ...asked, prompt: 'And it came to pass', maxOutputTokens: 12 });
    expect(whole.finishReason).toBe('length');
    expect(whole.usage).toMatchObject({ outputTokens: 12 });
    const stream = streamText({ ...asked, prompt: 'And it came to pass', maxOutputTokens: 12 });
    let text = '';
    for await (const piece of stream.textStream) text += piece;
    expect(text).toBe(whole.text);
    expect(text.length).toBeGreaterThan(5);
    const usage = await stream.usage;
    expect([usage.inputTokens, usage.outputTokens]).toEqual([whole.usage.inputTokens, 12]);
  });

  it('calls tools and answers with their results, whole and as a stream', async () => {
    const [one, two] = [weather(), weather()];
    const whole = await generateText({
      ...asked,
      prompt: QUESTIONS.weather,
      tools: one.tools,
      stopWhen: stepCountIs(3),
    });
    expect(whole.steps.map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'stop']);
    expect(one.cities).toEqual(['Paris']);
    expect(whole.text).toBe(ANSWERS.weather);
    const stream = streamText({ ...asked, prompt: QUESTIONS.twice, tools: two.tools, stopWhen: stepCountIs(3) });
    const types: string[] = [];
    for await (const part of stream.fullStream) types.push(part.type);
    expect(types).not.toContain('error');
    expect(types.filter((type) => type === 'tool-call')).toHaveLength(2);
    expect(two.cities.sort()).toEqual(['Paris', 'Rome']);
    expect(await stream.text).toBe(ANSWERS.weather);
  });

  it('gets thoughts apart', async () => {
    const { reasoningText, text } = await generateText({ ...asked, prompt: QUESTIONS.think });
    expect([reasoningText, text]).toEqual([ANSWERS.thought, ANSWERS.think]);
  });

  it('gets objects of a schema, whole and as a stream', async () => {
    const { object } = await generateObject({ ...asked, prompt: 'A verse', schema: verse });
    expect([1, 2]).toContain(object.number);
    const stream = streamObject({ ...asked, prompt: 'A verse', schema: verse });
    let last: unknown;
    for await (const each of stream.partialObjectStream) last = each;
    expect(last).toEqual(object);
  });

  it('ends an answer by a signal, which frees the row', async () => {
    const leave = new AbortController();
    const stream = streamText({ ...asked, prompt: 'And', maxOutputTokens: 256, abortSignal: leave.signal });
    const types: string[] = [];
    for await (const part of stream.fullStream) {
      types.push(part.type);
      if (part.type === 'text-delta') leave.abort();
    }
    expect(types.at(-1)).toBe('abort');
    await expect.poll(() => server.served.queue.running, { timeout: 10_000 }).toBe(0);
  });

  it('gets errors with the status and the reason', async () => {
    const long = generateText({ ...asked, prompt: 'word '.repeat(1200) });
    await expect(long).rejects.toMatchObject({ statusCode: 400, data: { error: { code: 'context_length_exceeded' } } });
  });
});
