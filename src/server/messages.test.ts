/**
 * Anthropic's protocol, with its own client.
 */
import Anthropic from '@anthropic-ai/sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chat, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import type { LanguageModel } from '../node.ts';
import { createApp, type ServerApp } from './app.ts';
import { messages } from './dialects/messages.ts';
import type { AnswerFacts } from './dialects/types.ts';
import type { ChoiceEvent, Turn, TurnEnd, TurnEvent } from './turn.ts';

let model: LanguageModel;
let app: ServerApp;
let client: Anthropic;
beforeAll(async () => {
  model = await loadChatModel();
  app = createApp({ models: [servedModel(model).one] });
  client = new Anthropic({
    baseURL: 'http://localhost',
    apiKey: 'none',
    maxRetries: 0,
    fetch: async (url, init) => app.fetch(new Request(url as string, init as RequestInit)),
  });
});
afterAll(() => model.dispose());

const asked = {
  model: 'tiny',
  max_tokens: 12,
  temperature: 0,
  messages: [{ role: 'user' as const, content: 'And it came' }],
};
const COUNT = {
  name: 'count',
  input_schema: {
    type: 'object' as const,
    properties: { n: { enum: [1, 2] } },
    required: ['n'],
    additionalProperties: false,
  },
};

describe('messages', () => {
  it('give the text of chat completions, whole and as a stream', async () => {
    const expected = await (await app.fetch(post('/v1/chat/completions', chat('And it came')))).json();
    const whole = await client.messages.create(asked);
    expect(whole).toMatchObject({ type: 'message', role: 'assistant', model: 'tiny', stop_reason: 'max_tokens' });
    expect(whole.content).toEqual([{ type: 'text', text: expected.choices[0].message.content }]);
    expect(whole.usage).toMatchObject({ input_tokens: expected.usage.prompt_tokens, output_tokens: 12 });
    const stream = client.messages.stream(asked);
    const final = await stream.finalMessage();
    expect(final).toMatchObject({ content: whole.content, stop_reason: 'max_tokens', usage: whole.usage });
    expect((await client.messages.countTokens({ model: 'tiny', messages: asked.messages })).input_tokens).toBe(
      whole.usage.input_tokens,
    );
  });

  it('call tools, whole and as a stream, and take their results', async () => {
    const body = {
      ...asked,
      max_tokens: 64,
      tools: [COUNT],
      tool_choice: { type: 'any' as const, disable_parallel_tool_use: true },
    };
    const whole = await client.messages.create(body);
    expect(whole.stop_reason).toBe('tool_use');
    const [call] = whole.content;
    if (call.type !== 'tool_use') throw new Error('no call');
    expect(call.name).toBe('count');
    expect([1, 2]).toContain((call.input as { n: number }).n);
    const final = await client.messages.stream(body).finalMessage();
    expect(final.content).toMatchObject([{ type: 'tool_use', name: 'count', input: call.input }]);
    const next = await client.messages.create({
      ...asked,
      messages: [
        ...asked.messages,
        { role: 'assistant', content: whole.content },
        { role: 'user', content: [{ type: 'tool_result', tool_use_id: call.id, content: 'two' }] },
      ],
    });
    expect(next.content[0].type).toBe('text');
  });

  it('are of a schema where output_config asks for it', async () => {
    const schema = { type: 'object', properties: { n: { enum: [1] } }, required: ['n'], additionalProperties: false };
    const { content, stop_reason: reason } = await client.messages.create({
      ...asked,
      max_tokens: 64,
      output_config: { format: { type: 'json_schema', schema } },
    });
    expect(reason).toBe('end_turn');
    expect(JSON.parse((content[0] as { text: string }).text)).toEqual({ n: 1 });
  });

  it('are refused in the form of this protocol', async () => {
    const image = { type: 'image' as const, source: { type: 'url' as const, url: 'http://a' } };
    await expect(
      client.messages.create({ ...asked, messages: [{ role: 'user', content: [image] }] }),
    ).rejects.toMatchObject({ status: 400, error: { type: 'error', error: { type: 'invalid_request_error' } } });
    await expect(client.messages.create({ ...asked, model: 'other' })).rejects.toMatchObject({
      status: 404,
      error: { error: { type: 'not_found_error' } },
    });
    const search = { type: 'web_search_20250305' as const, name: 'web_search' as const };
    await expect(client.messages.create({ ...asked, tools: [search] })).rejects.toMatchObject({ status: 400 });
  });
});

describe('the dialect', () => {
  const read = (more: object) =>
    messages.read({ ...asked, ...more }, '').turns[0] as Turn & { input: { messages: unknown } };
  const end: TurnEnd = {
    type: 'end',
    finish: 'stop',
    stopString: 'END',
    usage: { promptTokens: 9, cachedTokens: 4, completionTokens: 5 },
    reasoningTokens: 1,
    cache: { class: 'default', held: 14, evicted: 0, bytes: 1 },
    timings: { queueMs: 0, prefillMs: 0, decodeMs: 0 },
  };
  const events: TurnEvent[] = [
    { type: 'reasoning', text: 'hm' },
    { type: 'text', text: '\n\n' },
    { type: 'call', id: 'call_1', name: 'f' },
    { type: 'arguments', text: '{"a"' },
    { type: 'arguments', text: ':1}' },
    { type: 'text', text: '\n' },
    { type: 'text', text: 'Done' },
    end,
  ];
  const facts = { id: 'msg_1', model: 'tiny' } as AnswerFacts;

  it('reads system texts, thoughts, calls and results as messages of chat templates', () => {
    const turn = read({
      system: [{ type: 'text', text: 'Be brief.', cache_control: { type: 'ephemeral' } }],
      thinking: { type: 'enabled', budget_tokens: 1024 },
      stop_sequences: ['END'],
      messages: [
        { role: 'user', content: 'Go' },
        {
          role: 'assistant',
          content: [
            { type: 'thinking', thinking: 'hm', signature: 'x' },
            { type: 'text', text: 'I look.' },
            { type: 'tool_use', id: 'c1', name: 'f', input: { a: 1 } },
          ],
        },
        {
          role: 'user',
          content: [
            { type: 'tool_result', tool_use_id: 'c1', is_error: true, content: [{ type: 'text', text: 'none' }] },
            { type: 'text', text: 'So?' },
          ],
        },
      ],
    });
    expect(turn.input.messages).toEqual([
      { role: 'system', content: 'Be brief.' },
      { role: 'user', content: 'Go' },
      {
        role: 'assistant',
        content: 'I look.',
        reasoning_content: 'hm',
        tool_calls: [{ id: 'c1', type: 'function', function: { name: 'f', arguments: { a: 1 } } }],
      },
      { role: 'tool', tool_call_id: 'c1', name: 'f', content: 'Error: none' },
      { role: 'user', content: 'So?' },
    ]);
    expect(turn.input).toMatchObject({ variables: { enable_thinking: true } });
    expect(turn.options).toMatchObject({ stop: ['END'], maxNewTokens: 12 });
  });

  it('writes thoughts, calls and texts as blocks that do not overlap', async () => {
    const content = [
      { type: 'thinking', thinking: 'hm', signature: 'keyhold' },
      { type: 'tool_use', id: 'call_1', name: 'f', input: { a: 1 } },
      { type: 'text', text: '\nDone' },
    ];
    const usage = { input_tokens: 5, cache_creation_input_tokens: 0, cache_read_input_tokens: 4, output_tokens: 5 };
    expect(messages.whole(facts, [events])).toMatchObject({
      content,
      stop_reason: 'stop_sequence',
      stop_sequence: 'END',
      usage,
    });
    async function* source(): AsyncGenerator<ChoiceEvent> {
      for (const event of events) yield { index: 0, event };
    }
    const sent: { type: string; index?: number; content_block?: { type: string } }[] = [];
    for await (const text of messages.stream(facts, source())) {
      const [, name, data] = /^event: (\w+)\ndata: (.*)\n\n$/.exec(text)!;
      sent.push(JSON.parse(data));
      expect(sent.at(-1)!.type).toBe(name);
    }
    expect(sent.map(({ type, index }) => `${type} ${index ?? ''}`)).toEqual([
      'message_start ',
      'content_block_start 0',
      'content_block_delta 0',
      'content_block_delta 0',
      'content_block_stop 0',
      'content_block_start 1',
      'content_block_delta 1',
      'content_block_delta 1',
      'content_block_stop 1',
      'content_block_start 2',
      'content_block_delta 2',
      'content_block_stop 2',
      'message_delta ',
      'message_stop ',
    ]);
  });

  it('keeps a call that was cut off as text', () => {
    const cut = [...events.slice(2, 4), { ...end, finish: 'length' as const, stopString: null }];
    expect(messages.whole(facts, [cut])).toMatchObject({
      content: [{ type: 'text', text: 'f({"a"' }],
      stop_reason: 'max_tokens',
    });
  });
});
