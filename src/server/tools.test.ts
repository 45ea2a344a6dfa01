/**
 * Calls of tools that are required, or strict: a grammar keeps them to their form, whatever the model would write.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chat, eventsOf, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import type { LanguageModel } from '../node.ts';
import { createApp } from './app.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());

const tool = (name: string, properties: object, more: object = {}) => ({
  type: 'function',
  function: {
    name,
    parameters: { type: 'object', properties, required: Object.keys(properties), additionalProperties: false },
    ...more,
  },
});
const TOOLS = [tool('count', { n: { enum: [1, 2] } }), tool('name', { first: { enum: ['Asher', 'Dan'] } })];
const ask = (body: object) => createApp({ models: [servedModel(model).one] }).fetch(post('/v1/chat/completions', body));

describe('tools', () => {
  it('are called where that is required, whole and in a stream', async () => {
    const body = chat('How many?', {
      tools: TOOLS,
      tool_choice: 'required',
      max_tokens: 64,
      parallel_tool_calls: false,
    });
    const { choices } = await (await ask(body)).json();
    const [{ id, type, function: called }] = choices[0].message.tool_calls;
    expect(choices[0]).toMatchObject({ finish_reason: 'tool_calls', message: { content: null } });
    expect(choices[0].message.tool_calls).toHaveLength(1);
    expect(type).toBe('function');
    expect(id).toMatch(/^call_\w+$/);
    const args = JSON.parse(called.arguments);
    if (called.name === 'count') expect([1, 2]).toContain(args.n);
    else expect(['Asher', 'Dan']).toContain(args.first);

    const events = await eventsOf(await ask({ ...body, stream: true }));
    const deltas = events.slice(0, -1).map((each) => JSON.parse(each).choices[0].delta);
    const calls = deltas.flatMap((delta) => delta.tool_calls ?? []);
    expect(calls[0]).toMatchObject({ index: 0, type: 'function', function: { name: called.name, arguments: '' } });
    // The arguments come in pieces, as they are written.
    expect(calls.length).toBeGreaterThan(2);
    expect(
      calls
        .slice(1)
        .map((each) => each.function.arguments)
        .join(''),
    ).toBe(called.arguments);
  });

  it('of one name are called where that name is required', async () => {
    const choice = { type: 'function', function: { name: 'name' } };
    const { choices } = await (await ask(chat('Who?', { tools: TOOLS, tool_choice: choice, max_tokens: 64 }))).json();
    expect(choices[0].message.tool_calls.map((each: { function: { name: string } }) => each.function.name)).toEqual([
      'name',
    ]);
  });

  it('are called of those that are allowed, where one must be', async () => {
    const allowed = (mode: string, ...names: string[]) => ({
      type: 'allowed_tools',
      allowed_tools: { mode, tools: names.map((name) => ({ type: 'function', function: { name } })) },
    });
    const body = chat('Who?', { tools: TOOLS, tool_choice: allowed('required', 'name'), max_tokens: 64 });
    const { choices } = await (await ask(body)).json();
    expect(choices[0].message.tool_calls[0].function.name).toBe('name');
    for (const [choice, message] of [
      [allowed('required', 'other'), /no tool other/],
      [allowed('never', 'name'), /^tool_choice\.allowed_tools\.mode must be /],
      [allowed('auto'), /^tool_choice\.allowed_tools\.tools/],
    ] as const) {
      const response = await ask(chat('Who?', { tools: TOOLS, tool_choice: choice }));
      expect(response.status).toBe(400);
      expect((await response.json()).error.message).toMatch(message);
    }
  });

  it('that are strict leave the model its text', async () => {
    const tools = [tool('count', { n: { enum: [1] } }, { strict: true })];
    const strict = await (await ask(chat('And it came', { tools }))).json();
    const free = await (await ask(chat('And it came', { tools: [tool('count', { n: { enum: [1] } })] }))).json();
    expect(strict.choices[0].message).toEqual(free.choices[0].message);
  });

  it('are not called where that is refused', async () => {
    const { choices } = await (await ask(chat('How many?', { tools: TOOLS, tool_choice: 'none' }))).json();
    expect(choices[0].message.tool_calls).toBeUndefined();
  });

  it('whose choice can’t be meant are refused', async () => {
    const named = (name: string) => ({ type: 'function', function: { name } });
    for (const [more, message] of [
      [{ tools: TOOLS, tool_choice: named('other') }, /no tool of this name/],
      [{ tool_choice: 'required' }, /there are no tools/],
      [{ tools: TOOLS, tool_choice: 'always' }, /tool_choice/],
      [{ chat_template_kwargs: { messages: [] } }, /messages of the chat template can't be set/],
      [{ tools: [tool('a', { x: { uniqueItems: true } })], tool_choice: 'required' }, /uniqueItems/],
    ] as const) {
      const response = await ask(chat('a', more));
      expect(response.status).toBe(400);
      expect((await response.json()).error.message).toMatch(message);
    }
  });
});
