/**
 * The server under load: many streams at once, clients that leave or do not read, keys that take turns, and an end
 * while it answers.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CliProcess } from '../../test/support/cli.ts';
import { leaveStreams } from '../../test/support/leaving-clients.ts';
import { chat, eventsOf, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import type { LanguageModel } from '../node.ts';
import { createApp } from './app.ts';
import { serve } from './serve-node.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());

const json = { 'content-type': 'application/json' };
const send = (url: string, body: object) =>
  fetch(`${url}/v1/completions`, { method: 'POST', headers: json, body: JSON.stringify({ model: 'tiny', ...body }) });

describe('many requests at once', () => {
  it('have the texts that generateBatch gives for the same seeds', async () => {
    const { one } = servedModel(model, { rows: 8 });
    const app = createApp({ models: [one] });
    const asked = Array.from({ length: 24 }, (_, i) => ({
      prompt: `Verse ${i}: And`,
      seed: 100 + i,
      temperature: i % 3 === 0 ? 0 : 0.8,
    }));
    const expected = new Map<string | number, string>();
    const batch = asked.map((each, id) => ({ ...each, id, maxNewTokens: 12 }));
    for await (const event of model.generateBatch(batch, { batchSize: 8, cache: one.options.cacheClasses[0].options }))
      if (event.type === 'end') expected.set(event.id, event.result.text);
    const texts = await Promise.all(
      asked.map(async (each) => {
        const response = await app.fetch(post('/v1/completions', { model: 'tiny', max_tokens: 12, ...each }));
        return (await response.json()).choices[0].text as string;
      }),
    );
    expect(texts).toEqual(asked.map((_, i) => expected.get(i)));
    expect(new Set(texts).size).toBeGreaterThan(12);
  });

  it('are 200 whole streams, and leave nothing behind', async () => {
    const { one } = servedModel(model, { rows: 8, queue: 200 });
    const server = await serve({ models: [one], port: 0 });
    try {
      const streams = Array.from({ length: 200 }, async (_, i) => {
        const stream_options = { include_usage: true };
        const body = { prompt: `Verse ${i}`, max_tokens: 5, ignore_eos: true, stream: true, stream_options };
        const events = await eventsOf(await send(server.url, body));
        expect(events.at(-1)).toBe('[DONE]');
        const chunks = events.slice(0, -1).map((each) => JSON.parse(each));
        expect(new Set(chunks.map(({ id }) => id)).size).toBe(1);
        expect(chunks.at(-2).choices[0].finish_reason).toBe('length');
        expect(chunks.at(-1).usage.completion_tokens).toBe(5);
        return chunks[0].id as string;
      });
      expect(new Set(await Promise.all(streams)).size).toBe(200);
      expect([one.queue.running, one.queue.waiting]).toEqual([0, 0]);
    } finally {
      await server.close();
    }
  });
});

describe('clients', () => {
  it('that leave at any moment leave no row, and no other client notices', async () => {
    const { one, losses } = servedModel(model, { rows: 4, queue: 100 });
    const server = await serve({ models: [one], port: 0 });
    try {
      const [left, others] = await Promise.all([
        leaveStreams(server.url, 60, 1),
        Promise.all(
          Array.from({ length: 8 }, async (_, i) => {
            const body = { prompt: `Verse ${i}`, max_tokens: 8, ignore_eos: true };
            return (await (await send(server.url, body)).json()).usage.completion_tokens as number;
          }),
        ),
      ]);
      expect(left).toBeGreaterThan(20);
      expect(others).toEqual(Array(8).fill(8));
      await expect.poll(() => [one.queue.running, one.queue.waiting], { timeout: 20_000 }).toEqual([0, 0]);
      expect(losses).toEqual([]);
    } finally {
      await server.close();
    }
  });

  it('that read nothing lose their rows to others', async () => {
    const { one } = servedModel(model, { rows: 2, maxTokens: 400, queue: 100 });
    const server = await serve({ models: [one], port: 0, stallMs: 300 });
    const sockets: Socket[] = [];
    try {
      const { port } = new URL(server.url);
      // Log probabilities make answers that no buffer of a socket takes.
      const more = { logprobs: true, top_logprobs: 20, max_tokens: 400, ignore_eos: true, stream: true };
      const body = JSON.stringify(chat('And', more));
      const head = `POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n`;
      for (let i = 0; i < 4; i++) {
        const socket = connect(Number(port), '127.0.0.1', () => {
          socket.write(`${head}Content-Length: ${body.length}\r\n\r\n${body}`);
        });
        // Its end is the server's.
        socket.on('error', () => {});
        socket.pause();
        sockets.push(socket);
      }
      await expect.poll(() => one.queue.running).toBe(2);
      const response = await send(server.url, { prompt: 'And', max_tokens: 4, ignore_eos: true });
      expect((await response.json()).usage.completion_tokens).toBe(4);
      await expect.poll(() => [one.queue.running, one.queue.waiting], { timeout: 60_000 }).toEqual([0, 0]);
    } finally {
      for (const socket of sockets) socket.destroy();
      await server.close();
    }
  });

  it('with a key of their own do not wait behind all requests of another key', async () => {
    const { one } = servedModel(model, { rows: 1, queue: 100, maxTokens: 100_000 });
    const app = createApp({ models: [one], authorize: (key) => key });
    const ends: string[] = [];
    const ask = async (key: string, more: RequestInit = {}, max_tokens = 4) => {
      const body = { model: 'tiny', prompt: 'And', max_tokens, ignore_eos: true };
      await app.fetch(new Request(post('/v1/completions', body, { authorization: `Bearer ${key}` }), more));
      ends.push(key);
    };
    // Holds the only row until all others wait.
    const first = new AbortController();
    const holder = ask('many', { signal: first.signal }, 100_000).catch(() => {});
    await expect.poll(() => one.queue.running).toBe(1);
    const many = Array.from({ length: 30 }, () => ask('many'));
    await expect.poll(() => one.queue.waiting).toBe(30);
    const single = ask('one');
    await expect.poll(() => one.queue.waiting).toBe(31);
    first.abort();
    await single;
    expect(ends.length).toBeLessThan(15);
    await Promise.all([holder, ...many]);
  });
});

describe('SIGTERM', () => {
  it('lets streams end whole, saves the sessions, and refuses what comes later', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-drain-'));
    const command = new CliProcess(
      ['serve', '--port', '0', '--name', 'tiny', '--session-dir', folder, '-p', 'lastrec', '-c', '64', '-q'],
      { KEYHOLD_CACHE: join(folder, 'cache') },
    );
    try {
      await expect.poll(() => command.stderr, { timeout: 60_000 }).toMatch(/served at (\S+)\/v1/);
      const url = /served at (\S+)\/v1/.exec(command.stderr)![1];
      const streams = Array.from({ length: 6 }, (_, i) =>
        send(url, { prompt: `Verse ${i}`, max_tokens: 150, ignore_eos: true, stream: true, session_id: `s${i}` }),
      );
      // All of them have begun.
      const responses = await Promise.all(streams);
      command.child.kill('SIGTERM');
      for (const response of responses) expect((await eventsOf(response)).at(-1)).toBe('[DONE]');
      const { code, stderr } = await command.end();
      expect({ code, stderr }).toMatchObject({ code: 0, stderr: expect.stringContaining('ending') });
      expect((await readdir(folder)).filter((name) => name.endsWith('.khc'))).toHaveLength(6);
    } finally {
      command.child.kill('SIGKILL');
      await rm(folder, { recursive: true });
    }
  });
});
