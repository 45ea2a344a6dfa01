/**
 * The server on the small model that ships: routes, streams, sessions, limits. Real clients are in test/clients.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CLASSES, chat, eventsOf, loadChatModel, post, servedModel, TEMPLATE } from '../../test/support/served.ts';
import { type LanguageModel, loadModel } from '../node.ts';
import { createApp } from './app.ts';
import { serve } from './serve-node.ts';
import type { ServedModelOptions } from './served-model.ts';
import type { SessionStore } from './sessions/sessions.ts';
import { folderStore } from './sessions/store-folder-node.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());
const served = (more: Partial<ServedModelOptions> = {}) => servedModel(model, more);

describe('chat completions', () => {
  it('give the text of generate, whole and as a stream', async () => {
    const app = createApp({ models: [served().one] });
    const whole = await (await app.fetch(post('/v1/chat/completions', chat('And it came')))).json();
    const expected = await model
      .chat([{ role: 'user', content: 'And it came' }], { maxNewTokens: 12, temperature: 0, cache: CLASSES[0].options })
      .result();
    expect(whole).toMatchObject({
      object: 'chat.completion',
      model: 'tiny',
      choices: [{ message: { role: 'assistant', content: expected.text }, finish_reason: 'length' }],
      usage: { prompt_tokens: expected.usage.promptTokens, completion_tokens: 12 },
      keyhold: { cache: { class: 'default', evicted: 0 } },
    });
    const body = chat('And it came', { stream: true, stream_options: { include_usage: true } });
    const response = await app.fetch(post('/v1/chat/completions', body));
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/);
    const events = await eventsOf(response);
    expect(events.at(-1)).toBe('[DONE]');
    const chunks = events.slice(0, -1).map((each) => JSON.parse(each));
    expect(chunks[0].choices[0].delta).toEqual({ role: 'assistant', content: '' });
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join('')).toBe(expected.text);
    expect(chunks.at(-2).choices[0]).toMatchObject({ delta: {}, finish_reason: 'length' });
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { completion_tokens: 12 } });
    expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
  });

  it('use the cache class that is asked for, and tell what was evicted', async () => {
    const app = createApp({ models: [served().one] });
    const body = chat('In the beginning God created the heaven and the earth. And the earth was without form', {
      cache: 'short',
    });
    const answer = await (await app.fetch(post('/v1/chat/completions', body))).json();
    expect(answer.keyhold.cache.class).toBe('short');
    expect(answer.keyhold.cache.held).toBeLessThanOrEqual(24);
    expect(answer.keyhold.cache.evicted).toBeGreaterThan(0);
  });

  it('are JSON of a schema where that is asked for, and refuse schemas that are not enforced', async () => {
    const app = createApp({ models: [served().one] });
    const ask = (schema: unknown) =>
      app.fetch(
        post(
          '/v1/chat/completions',
          chat('A verse as JSON', { response_format: { type: 'json_schema', json_schema: { name: 'verse', schema } } }),
        ),
      );
    const schema = {
      type: 'object',
      properties: { number: { enum: [1, 2] } },
      required: ['number'],
      additionalProperties: false,
    };
    const { choices } = await (await ask(schema)).json();
    expect(choices[0].finish_reason).toBe('stop');
    expect([1, 2]).toContain(JSON.parse(choices[0].message.content).number);
    const refused = await ask({ type: 'object', unevaluatedProperties: { type: 'string' } });
    expect(refused.status).toBe(400);
    expect((await refused.json()).error).toMatchObject({
      param: 'response_format',
      message: expect.stringContaining('unevaluatedProperties'),
    });
  });

  it('give log probabilities', async () => {
    const app = createApp({ models: [served().one] });
    const body = chat('And', { logprobs: true, top_logprobs: 2, max_tokens: 3 });
    const { choices } = await (await app.fetch(post('/v1/chat/completions', body))).json();
    const { content } = choices[0].logprobs;
    expect(content).toHaveLength(3);
    expect(content[0].top_logprobs).toHaveLength(2);
    expect(content[0].logprob).toBeCloseTo(content[0].top_logprobs[0].logprob, 5);
    expect(
      content
        .map(({ token }: { token: string }) => token)
        .join('')
        .trim(),
    ).toBe(choices[0].message.content.trim());
  });

  it('give the bytes of tokens that are a part of a character', async () => {
    const app = createApp({ models: [served().one] });
    const format = { type: 'regex', pattern: ' and 🐟🐟!' };
    const body = chat('And', { logprobs: true, top_logprobs: 1, max_tokens: 30, response_format: format });
    const { choices } = await (await app.fetch(post('/v1/chat/completions', body))).json();
    const { content } = choices[0].logprobs;
    const bytes = content.flatMap((token: { bytes: number[] }) => token.bytes);
    expect(Buffer.from(bytes).toString()).toBe(' and 🐟🐟!');
    expect(content.map(({ token }: { token: string }) => token)).toContain('bytes:\\x9f');
  });

  it('give the place of each token of a completion', async () => {
    const app = createApp({ models: [served().one] });
    const body = { model: 'tiny', prompt: 'And it came', logprobs: 1, max_tokens: 6, temperature: 0 };
    const { choices } = await (await app.fetch(post('/v1/completions', body))).json();
    const { text, logprobs } = choices[0];
    expect(logprobs.tokens.join('')).toBe(text);
    for (const [i, token] of logprobs.tokens.entries())
      expect(text.slice(logprobs.text_offset[i]).startsWith(token)).toBe(true);
  });
});

describe('requests', () => {
  const app = () => createApp({ models: [served().one], bodyBytes: 2000 });
  it.each([
    ['no JSON', '{', 400, /no JSON/, null],
    ['no object', '[]', 400, /object/, null],
    ['deep', `{"model":${'['.repeat(70)}${']'.repeat(70)}}`, 400, /deeper/, null],
    ['too large', JSON.stringify(chat('x'.repeat(3000))), 413, /larger/, 'request_too_large'],
    [
      'another model',
      JSON.stringify({ ...chat('a'), model: 'gpt-4' }),
      404,
      /there is no model "gpt-4"/,
      'model_not_found',
    ],
    ['no messages', JSON.stringify({ model: 'tiny', messages: [] }), 400, /messages/, null],
    [
      'an image',
      JSON.stringify({ model: 'tiny', messages: [{ role: 'user', content: [{ type: 'image_url' }] }] }),
      400,
      /image_url/,
      'unsupported_content',
    ],
    ['too many answers', JSON.stringify(chat('a', { n: 1000 })), 400, /n must be at most 16/, null],
    ['a temperature of 9', JSON.stringify(chat('a', { temperature: 9 })), 400, /temperature/, null],
    ['sound', JSON.stringify(chat('a', { modalities: ['text', 'audio'] })), 400, /only text/, null],
    ['an end by ids', JSON.stringify(chat('a', { stop_token_ids: [5] })), 400, /stop_token_ids/, null],
    ['a least length', JSON.stringify(chat('a', { min_tokens: 5 })), 400, /min_tokens/, null],
    ['no choice of texts', JSON.stringify(chat('a', { guided_choice: [] })), 400, /guided_choice/, null],
    ['a grammar', JSON.stringify(chat('a', { grammar: 'root ::= "a"' })), 400, /use response_format/, null],
    ['a way of sampling', JSON.stringify(chat('a', { xtc_probability: 0.5 })), 400, /xtc_probability/, null],
    ['special tokens', JSON.stringify(chat('a', { skip_special_tokens: false })), 400, /special/, null],
    ['a stop that is no text', JSON.stringify(chat('a', { stop: ['a', 5] })), 400, /stop\.1 must be a string/, null],
    ['no text', JSON.stringify(chat([{ text: 'a' }] as never)), 400, /messages\.0\.content\.0\.type/, null],
    ['a message to go on with', JSON.stringify(chat('a', { continue_final_message: true })), 400, /continued/, null],
    ['a template', JSON.stringify(chat('a', { chat_template: '{{ 1 }}' })), 400, /templates/, null],
    ['a class that is not there', JSON.stringify(chat('a', { cache: 'none' })), 400, /there are default, short/, null],
    [
      'a bias of no token',
      JSON.stringify(chat('a', { logit_bias: { a: 1 } })),
      400,
      /logit_bias\.a must be named by a token id, which is a whole number, but is "a"$/,
      null,
    ],
    [
      'a name of no session',
      JSON.stringify(chat('a', { session_id: 'a b' })),
      400,
      /session_id must be 1 to 128 of the characters A-Z a-z 0-9 \. _ -, but is "a b"$/,
      null,
    ],
    ['a token beyond the vocabulary', JSON.stringify(chat('a', { logit_bias: { 9999999: 1 } })), 400, /9999999/, null],
  ])('are refused with a reason: %s', async (_, body, status, message, code) => {
    for (const stream of body.includes('"messages"') ? ['', ',"stream":true}'] : ['']) {
      const text = stream === '' ? body : body.replace(/}$/, stream);
      const response = await app().fetch(post('/v1/chat/completions', text));
      expect(response.status).toBe(status);
      const { error } = await response.json();
      expect(error.message).toMatch(message);
      // As OpenAI has it, also for status 404.
      expect(error).toMatchObject({ code, type: 'invalid_request_error' });
    }
  });

  it('may have any seed of 64 bits, and neutral values of what is refused', async () => {
    const server = createApp({ models: [served().one] });
    for (const seed of [-1, 2 ** 53, -(2 ** 63)]) {
      const more = {
        seed,
        temperature: 1,
        max_tokens: 4,
        min_tokens: 0,
        modalities: ['text'],
        n: 2,
        typical_p: 1,
        top_k: -1,
      };
      const [one, again] = await Promise.all(
        [0, 1].map(async () => (await server.fetch(post('/v1/chat/completions', chat('And', more)))).json()),
      );
      expect(one.choices, String(seed)).toEqual(again.choices);
    }
  });

  it('that do not fit a dense cache are refused with the code that clients know', async () => {
    const body = { model: 'tiny', prompt: 'word '.repeat(600), max_tokens: 4 };
    for (const stream of [false, true]) {
      const big = createApp({ models: [served().one] });
      const response = await big.fetch(post('/v1/completions', { ...body, stream }));
      expect(response.status).toBe(400);
      expect((await response.json()).error.code).toBe('context_length_exceeded');
    }
  });

  it('with messages need a chat template, and no path of this machine is told', async () => {
    await using plain = await loadModel();
    const bare = createApp({ models: [servedModel(plain).one] });
    for (const path of ['/v1/chat/completions', '/apply-template', '/tokenize']) {
      const response = await bare.fetch(post(path, chat('And')));
      expect(response.status).toBe(400);
      expect((await response.json()).error).toMatchObject({
        message: 'messages: this model has no chat template; POST /v1/completions goes on with a text',
        param: 'messages',
      });
    }
  });

  it('say the form of a completion, too', async () => {
    const server = createApp({ models: [served().one] });
    const ask = async (more: object) => {
      const body = { model: 'tiny', prompt: 'Is it so?', temperature: 0, ...more };
      return (await server.fetch(post('/v1/completions', body))).json();
    };
    expect((await ask({ structured_outputs: { choice: ['yes', 'no'] } })).choices[0].text).toMatch(/^(yes|no)$/);
    expect((await ask({ response_format: { type: 'regex', pattern: '[ab]{3}' } })).choices[0].text).toMatch(
      /^[ab]{3}$/,
    );
    const { error } = await ask({ guided_json: { contains: {}, minContains: 3 } });
    expect([error.param, error.message]).toEqual(['guided_json', expect.stringContaining('minContains')]);
  });

  it('of another type than JSON are refused', async () => {
    const response = await app().fetch(post('/v1/completions', 'a=b', { 'content-type': 'text/plain' }));
    expect(response.status).toBe(415);
  });

  it('that are compressed, or are no UTF-8, are refused as such', async () => {
    const send = async (body: string | Uint8Array<ArrayBuffer>, more: Record<string, string> = {}) => {
      const headers = { 'content-type': 'application/json', ...more };
      const request = new Request('http://localhost/v1/completions', { method: 'POST', body, headers });
      const response = await app().fetch(request);
      return [response.status, (await response.json()).error?.message];
    };
    const body = JSON.stringify({ model: 'tiny', prompt: 'é', max_tokens: 1 });
    expect(await send(body, { 'content-encoding': 'gzip' })).toEqual([
      415,
      'bodies are taken as they are: send it without "Content-Encoding: gzip"',
    ]);
    expect(await send(new Uint8Array(Buffer.from(body, 'latin1')))).toEqual([
      400,
      'the body is not UTF-8 text, which JSON must be',
    ]);
    for (const encoding of ['identity', '']) expect((await send(body, { 'content-encoding': encoding }))[0]).toBe(200);
  });

  it('need a key where there are keys', async () => {
    const keyed = createApp({ models: [served().one], authorize: (key) => (key === 'right' ? 'me' : null) });
    expect((await keyed.fetch(new Request('http://localhost/v1/models'))).status).toBe(401);
    expect((await keyed.fetch(new Request('http://localhost/health'))).status).toBe(200);
    const headers = { authorization: 'Bearer right' };
    expect((await keyed.fetch(new Request('http://localhost/v1/models', { headers }))).status).toBe(200);
  });
});

describe('other routes', () => {
  const app = () => createApp({ models: [served().one] });
  it('list the model with its cache classes', async () => {
    const list = await (await app().fetch(new Request('http://localhost/v1/models'))).json();
    expect(list.data[0]).toMatchObject({ id: 'tiny', object: 'model', max_model_len: 512 });
    expect(list.data[0].keyhold.cache_classes[1]).toMatchObject({ name: 'short', policy: 'lastrec', cacheLength: 24 });
    expect((await app().fetch(new Request('http://localhost/v1/models/tiny'))).status).toBe(200);
    expect((await app().fetch(new Request('http://localhost/v1/models/a/b'))).status).toBe(404);
  });

  it('turn text into tokens and back', async () => {
    const { tokens, count } = await (await app().fetch(post('/tokenize', { prompt: 'And it came' }))).json();
    expect(tokens).toEqual(model.tokenizer.encode('And it came'));
    expect(count).toBe(tokens.length);
    const { prompt, content } = await (await app().fetch(post('/detokenize', { tokens }))).json();
    expect(prompt).toContain('And it came');
    expect(content).toBe(prompt);
    const refused = await app().fetch(post('/tokenize', { text: 'And it came' }));
    expect([refused.status, (await refused.json()).error.param]).toEqual([400, 'prompt']);
  });

  it('take the options of vLLM and of llama-server for tokens', async () => {
    const one = app();
    const ask = async (body: object) => (await one.fetch(post('/tokenize', body))).json();
    const encode = (text: string, addSpecialTokens = false) => model.tokenizer.encode(text, { addSpecialTokens });
    const text = 'And it came 🌍';
    expect((await ask({ content: text })).tokens).toEqual(encode(text));
    expect((await ask({ content: text, add_special: true })).tokens).toEqual(encode(text, true));
    expect((await ask({ prompt: text, add_special_tokens: false })).tokens).toEqual(encode(text));
    const { token_strs: strs, tokens } = await ask({ prompt: 'And it came', return_token_strs: true });
    expect(strs).toHaveLength(tokens.length);
    expect(strs.join('')).toContain('And it came');
    const { tokens: pieces } = await ask({ content: text, with_pieces: true });
    const bytes = pieces.map(({ piece }: { piece: string | number[] }) => Buffer.from(piece as string));
    expect(Buffer.concat(bytes).toString()).toBe(text);
    expect(pieces.map(({ id }: { id: number }) => id)).toEqual(encode(text));
    const refused = await ask({ content: text, parse_special: false });
    expect(refused.error).toMatchObject({ param: 'parse_special' });
  });

  it('show the prompt of messages, and what the server has', async () => {
    const one = app();
    const messages = [{ role: 'user', content: [{ type: 'text', text: 'And?' }] }];
    const { prompt } = await (await one.fetch(post('/apply-template', { messages }))).json();
    expect(prompt).toBe('user: And?\nassistant:');
    const { tokens } = await (await one.fetch(post('/tokenize', { messages }))).json();
    expect(tokens).toEqual(model.tokenizer.encode(prompt, { addSpecialTokens: false }));
    const refused = await one.fetch(post('/apply-template', { messages, chat_template: '{{ 1 }}' }));
    expect((await refused.json()).error).toMatchObject({ param: 'chat_template' });
    expect(await (await one.fetch(new Request('http://localhost/props?model=tiny'))).json()).toMatchObject({
      default_generation_settings: { n_ctx: 512 },
      total_slots: 4,
      model_alias: 'tiny',
      chat_template: TEMPLATE,
    });
  });

  it('that are not there name the one that was probably meant', async () => {
    const messages = async (request: Request) => {
      const response = await app().fetch(request);
      return [response.status, response.headers.get('allow'), (await response.json()).error.message];
    };
    const get = (path: string) => new Request(`http://localhost${path}`);
    expect(await messages(get('/v1/chat/completions'))).toEqual([
      405,
      'POST',
      'there is no route GET /v1/chat/completions; there is POST /v1/chat/completions',
    ]);
    const without = await messages(post('/chat/completions', chat('a')));
    expect(without).toEqual([
      404,
      null,
      'there is no route POST /chat/completions; there is POST /v1/chat/completions',
    ]);
    expect((await messages(post('/v1/tokenize', {})))[2]).toContain('there is POST /tokenize');
    expect((await messages(get('/slots')))[2]).toBe('there is no route GET /slots');
  });

  it('count what was done', async () => {
    const one = app();
    await one.fetch(post('/v1/completions', { model: 'tiny', prompt: 'And', max_tokens: 3, temperature: 0 }));
    const text = await (await one.fetch(new Request('http://localhost/metrics'))).text();
    expect(text).toContain('keyhold_generation_tokens_total{model_name="tiny"} 3');
    expect(text).toContain('keyhold_request_success_total{model_name="tiny",finished_reason="length"} 1');
    expect(text).toContain('keyhold_num_requests_running{model_name="tiny"} 0');
  });
});

describe('sessions', () => {
  const ask = async (app: ReturnType<typeof createApp>, messages: object[], headers = { 'x-session-id': 'talk' }) => {
    const body = { model: 'tiny', messages, max_tokens: 8, temperature: 0 };
    return (await app.fetch(post('/v1/chat/completions', body, headers))).json();
  };
  const first = [{ role: 'user', content: 'In the beginning God created' }];

  it('go on from their cache; other keys have sessions of their own', async () => {
    const app = createApp({ models: [served().one], authorize: (key) => key });
    const headers = (key: string) => ({ 'x-session-id': 'talk', authorization: `Bearer ${key}` });
    const one = await ask(app, first, headers('a'));
    expect(one.usage.prompt_tokens_details.cached_tokens).toBe(0);
    const next = [
      ...first,
      { role: 'assistant', content: one.choices[0].message.content },
      { role: 'user', content: 'And' },
    ];
    const two = await ask(app, next, headers('a'));
    expect(two.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(one.usage.prompt_tokens);
    const other = await ask(app, next, headers('b'));
    expect(other.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(other.choices).toEqual(two.choices);
  });

  it('survive the memory’s limit and a restart in a folder', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-sessions-'));
    try {
      const before = served({ sessions: 1, store: folderStore(folder) });
      const app = createApp({ models: [before.one] });
      const one = await ask(app, first);
      await ask(app, first, { 'x-session-id': 'another' });
      expect(before.one.sessions.count).toBe(1);
      await before.one.sessions.saveAll();
      expect(await readdir(folder)).toHaveLength(2);
      const after = served({ store: folderStore(folder) });
      const next = [
        ...first,
        { role: 'assistant', content: one.choices[0].message.content },
        { role: 'user', content: 'And' },
      ];
      const two = await ask(createApp({ models: [after.one] }), next);
      expect(two.usage.prompt_tokens_details.cached_tokens).toBeGreaterThanOrEqual(one.usage.prompt_tokens);
      await after.one.sessions.saveAll();
      expect([...before.losses, ...after.losses]).toEqual([]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it('are computed anew where what was saved is damaged', async () => {
    const store: SessionStore = { save: async () => null, load: async () => new Uint8Array(100) };
    const { one, losses } = served({ store });
    const answer = await ask(createApp({ models: [one] }), first);
    expect(answer.usage.prompt_tokens_details.cached_tokens).toBe(0);
    expect(losses).toHaveLength(1);
  });
});

describe('limits', () => {
  it('refuse what does not fit the queue, and let keys take turns', async () => {
    const { one } = served({ rows: 1, queue: 3 });
    const signal = new AbortController().signal;
    const release = await one.queue.enter('a', signal);
    const order: string[] = [];
    const wait = (key: string, name: string) =>
      one.queue.enter(key, signal).then((free) => {
        order.push(name);
        free();
      });
    const all = [wait('a', 'a1'), wait('a', 'a2'), wait('b', 'b1')];
    await expect(one.queue.enter('b', signal)).rejects.toMatchObject({ status: 429, code: 'queue_full' });
    release();
    await Promise.all(all);
    expect(order).toEqual(['a1', 'b1', 'a2']);
    expect([one.queue.running, one.queue.waiting]).toEqual([0, 0]);
  });

  it('end a request whose client has left, and free its row', async () => {
    const { one } = served({ rows: 1 });
    const app = createApp({ models: [one] });
    for (let i = 0; i < 20; i++) {
      const response = await app.fetch(post('/v1/chat/completions', chat('And', { stream: true, max_tokens: 64 })));
      const reader = response.body!.getReader();
      await reader.read();
      await reader.cancel();
    }
    const answer = await app.fetch(post('/v1/chat/completions', chat('And')));
    expect(answer.status).toBe(200);
    expect(one.queue.running).toBe(0);
  });

  it('are no errors of the log where their clients leave while they wait', async () => {
    const { one } = served({ rows: 1 });
    const levels: unknown[] = [];
    const app = createApp({ models: [one], log: ({ level, finish }) => levels.push([level, finish]) });
    const free = await one.queue.enter('', new AbortController().signal);
    for (const stream of [false, true]) {
      const leaving = new AbortController();
      const given = post('/v1/chat/completions', chat('And', { stream }));
      const response = app.fetch(new Request(given, { signal: leaving.signal }));
      await expect.poll(() => one.queue.waiting).toBe(1);
      // A stream begins after five seconds, though it waits.
      const body = stream ? (await response).body : null;
      leaving.abort();
      await response;
      await body?.cancel().catch(() => undefined);
      await expect.poll(() => one.queue.waiting).toBe(0);
    }
    free();
    await expect.poll(() => levels.length).toBe(2);
    expect(levels).toEqual([
      ['info', 'abort'],
      ['info', 'abort'],
    ]);
  }, 30_000);

  it('end a stream whose client takes nothing, and free its row', async () => {
    const { one } = served({ rows: 1 });
    const app = createApp({ models: [one], stallMs: 50 });
    const response = await app.fetch(post('/v1/chat/completions', chat('And', { stream: true, max_tokens: 64 })));
    const reader = response.body!.getReader();
    await reader.read();
    await expect.poll(() => one.queue.running, { timeout: 10_000 }).toBe(0);
    await expect(reader.read()).rejects.toThrow('taken nothing');
  });

  it('read a body of quotes in time that grows with its length', async () => {
    const app = createApp({ models: [served().one] });
    const response = await app.fetch(post('/v1/completions', `"${'\\"'.repeat(2_000_000)}`));
    expect(response.status).toBe(400);
  });

  it('refuse new requests while the server ends', async () => {
    const app = createApp({ models: [served().one] });
    app.drain();
    expect((await app.fetch(post('/v1/chat/completions', chat('And')))).status).toBe(503);
    expect((await app.fetch(new Request('http://localhost/ready'))).status).toBe(503);
    expect((await app.fetch(new Request('http://localhost/health/live'))).status).toBe(200);
  });
});

describe('the server over a socket', () => {
  it('is not open to other machines without keys', async () => {
    await expect(serve({ models: [served().one], host: '0.0.0.0', port: 0 })).rejects.toThrow('--no-keys');
  });

  it('says why an address can not be listened on', async () => {
    const models = [served().one];
    const first = await serve({ models, port: 0 });
    const port = Number(new URL(first.url).port);
    try {
      await expect(serve({ models, port })).rejects.toThrow(`port ${port} of 127.0.0.1 can't be used: another program`);
      await expect(serve({ models, port: 99999 })).rejects.toThrow('port must be a whole number from 0 to 65535');
    } finally {
      await first.close();
    }
  });

  it('does not answer under the name of another site', async () => {
    const server = await serve({ models: [served().one], port: 0 });
    try {
      const { request } = await import('node:http');
      const status = await new Promise((resolve, reject) => {
        const options = {
          host: '127.0.0.1',
          port: new URL(server.url).port,
          path: '/v1/models',
          headers: { host: 'evil.example' },
        };
        request(options, (response) => resolve(response.resume().statusCode))
          .on('error', reject)
          .end();
      });
      expect(status).toBe(403);
    } finally {
      await server.close();
    }
  });
});
