/**
 * The model of this process with the AI SDK, versions 6 and 7.
 */
import * as ai6 from 'ai';
import * as ai7 from 'ai-7';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { scriptedModel } from '../../test/support/scripted-model.ts';
import { servedModel } from '../../test/support/served.ts';
import { InputError, type LanguageModel } from '../node.ts';
import type { ServedModel } from '../server/served-model.ts';
import { aiSdkModel } from './language-model.ts';

const CALL = '<tool_call>{"name": "weather", "arguments": {"city": "Paris"}}</tool_call>';
let model: LanguageModel;
let served: ServedModel;

beforeAll(async () => {
  model = await scriptedModel((messages) => {
    const last = messages.at(-1)!;
    if (last.role === 'tool') return `It is ${JSON.parse(last.content).sky}.`;
    if (last.content === 'Weather?') return `I look. ${CALL}`;
    return last.content === 'Think.' ? '<think>Let me see</think>Yes.' : null;
  });
  served = servedModel(model, { maxTokens: 256 }).one;
});
afterAll(() => model.dispose());

/** Both versions have these functions; the types of their models differ. */
const VERSIONS: [string, typeof ai6][] = [
  ['ai 6', ai6],
  ['ai 7', ai7 as unknown as typeof ai6],
];

describe.each(VERSIONS)('%s', (_, ai) => {
  const asked = () => ({ model: aiSdkModel(served), temperature: 0, maxRetries: 0, maxOutputTokens: 12 });
  const verse = ai.jsonSchema<{ number: number }>({
    type: 'object',
    properties: { number: { enum: [1, 2] } },
    required: ['number'],
    additionalProperties: false,
  });
  const tools = (cities: string[]) => ({
    weather: ai.tool({
      inputSchema: ai.jsonSchema<{ city: string }>({ type: 'object', properties: { city: { type: 'string' } } }),
      execute: async ({ city }) => {
        cities.push(city);
        return { sky: 'clear' };
      },
    }),
  });

  it('gets the text of the library, whole and as a stream, with numbers of tokens', async () => {
    const expected = await model
      .chat([{ role: 'user', content: 'And it came' }], { temperature: 0, maxNewTokens: 12 })
      .result();
    const whole = await ai.generateText({ ...asked(), prompt: 'And it came' });
    expect(whole.text).toBe(expected.text);
    expect(whole.finishReason).toBe('length');
    const { promptTokens: inputTokens, completionTokens: outputTokens } = expected.usage;
    expect(whole.usage).toMatchObject({ inputTokens, outputTokens });
    expect(whole.providerMetadata?.keyhold).toMatchObject({ cache: { class: 'default', evicted: 0 } });
    const stream = ai.streamText({ ...asked(), prompt: 'And it came' });
    const pieces: string[] = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    expect(pieces.join('')).toBe(expected.text);
    expect(pieces.length).toBeGreaterThan(3);
    expect(await stream.usage).toMatchObject({ inputTokens, outputTokens });
  });

  it('calls tools and answers with their results, whole and as a stream', async () => {
    const call = { ...asked(), maxOutputTokens: 256, prompt: 'Weather?', stopWhen: ai.stepCountIs(3) };
    const [one, two]: string[][] = [[], []];
    const whole = await ai.generateText({ ...call, tools: tools(one) });
    expect(whole.steps.map(({ finishReason }) => finishReason)).toEqual(['tool-calls', 'stop']);
    expect(whole.steps[0].text.trim()).toBe('I look.');
    expect([whole.text, one]).toEqual(['It is clear.', ['Paris']]);
    const stream = ai.streamText({ ...call, tools: tools(two) });
    const types: string[] = [];
    for await (const part of stream.fullStream) types.push(part.type);
    expect(types.slice(types.indexOf('tool-input-start'))).toEqual(
      expect.arrayContaining(['tool-input-delta', 'tool-input-end', 'tool-call', 'tool-result']),
    );
    expect([await stream.text, two]).toEqual(['It is clear.', ['Paris']]);
  });

  it('has a call where one is required', async () => {
    const call = { ...asked(), maxOutputTokens: 256, prompt: 'A', tools: tools([]) };
    for (const toolChoice of ['required', { type: 'tool', toolName: 'weather' }] as const) {
      const { toolCalls } = await ai.generateText({ ...call, toolChoice });
      expect(toolCalls[0].toolName).toBe('weather');
    }
  });

  it('gets thoughts apart', async () => {
    const { reasoningText, text } = await ai.generateText({ ...asked(), maxOutputTokens: 256, prompt: 'Think.' });
    expect([reasoningText, text]).toEqual(['Let me see', 'Yes.']);
  });

  it('gets objects of a schema, whole and as a stream', async () => {
    const call = { ...asked(), maxOutputTokens: 256, prompt: 'A verse', schema: verse };
    const { object } = await ai.generateObject(call);
    expect([1, 2]).toContain(object.number);
    const stream = ai.streamObject(call);
    let last: unknown;
    for await (const each of stream.partialObjectStream) last = each;
    expect(last).toEqual(object);
  });

  it('goes on from the cache of a session', async () => {
    const call = { ...asked(), providerOptions: { keyhold: { session: `talk of ${_}` } } };
    const one = await ai.generateText({ ...call, prompt: 'In the beginning' });
    const two = await ai.generateText({
      ...call,
      messages: [
        { role: 'user', content: 'In the beginning' },
        { role: 'assistant', content: one.text },
        { role: 'user', content: 'And' },
      ],
    });
    const cached = (two.usage as { inputTokenDetails?: { cacheReadTokens?: number } }).inputTokenDetails;
    expect(cached?.cacheReadTokens).toBeGreaterThanOrEqual(one.usage.inputTokens!);
  });

  it('ends by a signal, which frees the row', async () => {
    const leave = new AbortController();
    const stream = ai.streamText({ ...asked(), maxOutputTokens: 256, prompt: 'And', abortSignal: leave.signal });
    const types: string[] = [];
    for await (const part of stream.fullStream) {
      types.push(part.type);
      if (part.type === 'text-delta') leave.abort();
    }
    expect(types.at(-1)).toBe('abort');
    await expect.poll(() => served.queue.running, { timeout: 10_000 }).toBe(0);
    const late = ai.generateText({ ...asked(), prompt: 'And', abortSignal: AbortSignal.abort() });
    await expect(late).rejects.toThrow(/abort/i);
  });

  it('refuses what would change the answer', async () => {
    const file = { type: 'file' as const, mediaType: 'image/png', data: new Uint8Array(8) };
    const image = ai.generateText({ ...asked(), messages: [{ role: 'user', content: [file] }] });
    await expect(image).rejects.toThrow('part of type "file"');
    const unknown = ai.generateText({ ...asked(), prompt: 'A', providerOptions: { keyhold: { sesion: 'a' } } });
    await expect(unknown).rejects.toThrow('did you mean session?');
    const long = ai.generateText({ ...asked(), prompt: 'word '.repeat(600) });
    await expect(long).rejects.toMatchObject({ code: 'cache-full' });
  });
});

describe('aiSdkModel', () => {
  it('serves a model by itself', async () => {
    const { text } = await ai6.generateText({ model: aiSdkModel(model), prompt: 'And', maxOutputTokens: 4 });
    expect(text).not.toBe('');
  });

  it('refuses a call before its stream, and frees the row of a stream that is left', async () => {
    const direct = aiSdkModel(served);
    const prompt = [{ role: 'user' as const, content: [{ type: 'text' as const, text: 'word '.repeat(600) }] }];
    await expect(direct.doStream({ prompt })).rejects.toMatchObject({ code: 'cache-full' });
    await expect(
      direct.doGenerate({ prompt, tools: [], providerOptions: { keyhold: { cache: 5 } } }),
    ).rejects.toBeInstanceOf(InputError);
    const { stream } = await direct.doStream({ prompt: [{ role: 'user', content: [{ type: 'text', text: 'And' }] }] });
    const reader = stream.getReader();
    expect((await reader.read()).value).toEqual({ type: 'stream-start', warnings: [] });
    await reader.cancel();
    expect(served.queue.running).toBe(0);
  });
});
