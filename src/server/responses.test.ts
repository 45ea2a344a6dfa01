/**
 * OpenAI's responses, with its own client.
 */
import OpenAI from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chat, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import type { LanguageModel } from '../node.ts';
import { createApp, type ServerApp } from './app.ts';
import { responses } from './dialects/responses.ts';
import { SavedResponses } from './responses-store.ts';

let model: LanguageModel;
let app: ServerApp;
const clientOf = (apiKey: string) =>
  new OpenAI({
    baseURL: 'http://localhost/v1',
    apiKey,
    maxRetries: 0,
    fetch: async (url, init) => app.fetch(new Request(url as string, init as RequestInit)),
  });
let client: OpenAI;
beforeAll(async () => {
  model = await loadChatModel();
  app = createApp({ models: [servedModel(model).one], authorize: (key) => key });
  client = clientOf('one');
});
afterAll(() => model.dispose());

const asked = { model: 'tiny', input: 'And it came', max_output_tokens: 12, temperature: 0 };
const COUNT = {
  type: 'function' as const,
  name: 'count',
  strict: true,
  parameters: { type: 'object', properties: { n: { enum: [1, 2] } }, required: ['n'], additionalProperties: false },
};

describe('responses', () => {
  it('give the text of chat completions, whole and as a stream', async () => {
    const headers = { authorization: 'Bearer one' };
    const expected = await (await app.fetch(post('/v1/chat/completions', chat('And it came'), headers))).json();
    const whole = await client.responses.create(asked);
    const text = expected.choices[0].message.content;
    expect(whole).toMatchObject({
      object: 'response',
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
      output: [{ type: 'message', role: 'assistant', status: 'incomplete', content: [{ type: 'output_text', text }] }],
      usage: { input_tokens: expected.usage.prompt_tokens, output_tokens: 12 },
    });
    expect(whole.output_text).toBe(text);
    const types: string[] = [];
    const numbers: number[] = [];
    let streamed = '';
    for await (const event of await client.responses.create({ ...asked, stream: true })) {
      types.push(event.type);
      numbers.push(event.sequence_number);
      if (event.type === 'response.output_text.delta') streamed += event.delta;
    }
    expect(streamed).toBe(text);
    expect(numbers).toEqual(numbers.map((_, i) => i));
    expect(types.filter((type) => type !== 'response.output_text.delta')).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.incomplete',
    ]);
    const final = await client.responses.stream(asked).finalResponse();
    expect(final.output_text).toBe(text);
  });

  it('call tools, and go on from their results by the id of a response', async () => {
    const body = {
      ...asked,
      max_output_tokens: 64,
      tools: [COUNT],
      tool_choice: 'required' as const,
      parallel_tool_calls: false,
    };
    const first = await client.responses.create(body);
    expect(first.status).toBe('completed');
    const [call] = first.output;
    if (call.type !== 'function_call') throw new Error('no call');
    expect([1, 2]).toContain(JSON.parse(call.arguments).n);
    const streamed = await client.responses.stream(body).finalResponse();
    expect(streamed.output).toMatchObject([{ type: 'function_call', name: 'count', arguments: call.arguments }]);
    const output = [{ type: 'function_call_output' as const, call_id: call.call_id, output: 'two' }];
    const next = await client.responses.create({ ...asked, input: output, previous_response_id: first.id });
    const resent = await client.responses.create({
      ...asked,
      input: [{ role: 'user', content: asked.input }, { ...call, id: undefined }, ...output] as never,
    });
    expect(next.output_text).toBe(resent.output_text);
    expect(next.usage!.input_tokens).toBe(resent.usage!.input_tokens);
  });

  it('of another key, and those that were not stored, are not known', async () => {
    const first = await client.responses.create(asked);
    const from = (id: string) => ({ ...asked, previous_response_id: id });
    await expect(clientOf('two').responses.create(from(first.id))).rejects.toMatchObject({ status: 404 });
    const other = await client.responses.create({ ...asked, store: false });
    await expect(client.responses.create(from(other.id))).rejects.toMatchObject({
      code: 'previous_response_not_found',
    });
  });

  it('are given again by their id, and removed, for their key only', async () => {
    const whole = await client.responses.create(asked);
    const streamed = await client.responses.stream(asked).finalResponse();
    for (const { id, output_text } of [whole, streamed])
      expect(await client.responses.retrieve(id)).toMatchObject({ id, output_text, status: 'incomplete' });
    const unknown = { status: 404, param: 'response_id' };
    const unstored = await client.responses.create({ ...asked, store: false });
    for (const [one, id] of [
      [clientOf('two'), whole.id],
      [client, unstored.id],
      [client, 'resp_none'],
    ] as const) {
      await expect(one.responses.retrieve(id)).rejects.toMatchObject(unknown);
      await expect(one.responses.delete(id)).rejects.toMatchObject(unknown);
    }
    await client.responses.delete(whole.id);
    await expect(client.responses.retrieve(whole.id)).rejects.toMatchObject(unknown);
    const next = client.responses.create({ ...asked, previous_response_id: whole.id });
    await expect(next).rejects.toMatchObject({ code: 'previous_response_not_found' });
    expect((await client.responses.retrieve(streamed.id)).output_text).toBe(streamed.output_text);
  });

  it('are of a schema where text.format asks for it', async () => {
    const schema = { type: 'object', properties: { n: { enum: [1] } }, required: ['n'], additionalProperties: false };
    const format = { type: 'json_schema' as const, name: 'n', schema };
    const { output_text: text } = await client.responses.create({ ...asked, max_output_tokens: 64, text: { format } });
    expect(JSON.parse(text)).toEqual({ n: 1 });
  });

  it('refuse what they can’t do, and tell errors in a stream', async () => {
    for (const [more, param] of [
      [{ background: true }, 'background'],
      [{ truncation: 'auto' }, 'truncation'],
      [{ tools: [{ type: 'web_search' }] }, 'tools.0.type'],
      [{ input: [{ role: 'user', content: [{ type: 'input_image' }] }] }, 'input.0.content.0'],
    ] as const)
      await expect(client.responses.create({ ...asked, ...more } as never)).rejects.toMatchObject({
        status: 400,
        param,
      });
  });
});

it('read calls and thoughts as parts of one message of the assistant', () => {
  const { turns } = responses(new SavedResponses()).read(
    {
      ...asked,
      instructions: 'Be brief.',
      input: [
        { role: 'developer', content: [{ type: 'input_text', text: 'Help.' }] },
        { role: 'user', content: 'Go' },
        { type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text: 'hm' }] },
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'I look.' }] },
        { type: 'function_call', call_id: 'a', name: 'f', arguments: '{"n":1}' },
        { type: 'function_call', call_id: 'b', name: 'g', arguments: '{}' },
        { type: 'function_call_output', call_id: 'b', output: '2' },
      ],
    },
    '',
  );
  const call = (id: string, name: string, args: object) => ({
    id,
    type: 'function',
    function: { name, arguments: args },
  });
  expect((turns[0].input as { messages: unknown }).messages).toEqual([
    { role: 'system', content: 'Be brief.' },
    { role: 'system', content: 'Help.' },
    { role: 'user', content: 'Go' },
    {
      role: 'assistant',
      content: 'I look.',
      reasoning_content: 'hm',
      tool_calls: [call('a', 'f', { n: 1 }), call('b', 'g', {})],
    },
    { role: 'tool', tool_call_id: 'b', name: 'g', content: '2' },
  ]);
});

it('keep the thoughts of each message of the assistant', () => {
  const thought = (text: string) => ({ type: 'reasoning', summary: [], content: [{ type: 'reasoning_text', text }] });
  const { turns } = responses(new SavedResponses()).read(
    {
      ...asked,
      input: [
        { role: 'user', content: 'Go' },
        thought('one'),
        { type: 'message', role: 'assistant', content: [{ type: 'output_text', text: 'I look.' }] },
        thought('two'),
        { type: 'function_call', call_id: 'a', name: 'f', arguments: '{}' },
      ],
    },
    '',
  );
  const call = { id: 'a', type: 'function', function: { name: 'f', arguments: {} } };
  expect((turns[0].input as { messages: unknown }).messages).toEqual([
    { role: 'user', content: 'Go' },
    { role: 'assistant', content: 'I look.', reasoning_content: 'one' },
    { role: 'assistant', content: '', reasoning_content: 'two', tool_calls: [call] },
  ]);
});
