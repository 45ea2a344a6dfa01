/**
 * Pages of other origins: which are allowed, preflights, and the headers of answers.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chat, loadChatModel, post, servedModel } from '../../test/support/served.ts';
import type { LanguageModel } from '../node.ts';
import { createApp } from './app.ts';
import { readOrigin } from './origins.ts';

let model: LanguageModel;
beforeAll(async () => {
  model = await loadChatModel();
});
afterAll(() => model.dispose());

const PAGE = 'https://page.example';
const appFor = (...origins: string[]) =>
  createApp({
    models: [servedModel(model).one],
    authorize: (key) => (key === 'right' ? 'me' : null),
    cors: origins,
  });
const preflight = (origin: string) =>
  new Request('http://localhost/v1/chat/completions', {
    method: 'OPTIONS',
    headers: {
      origin,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization,content-type,x-stainless-os',
    },
  });
const allowed = ({ headers }: Response) => headers.get('access-control-allow-origin');
const keyed = (origin: string) => ({ origin, authorization: 'Bearer right' });

describe('an origin', () => {
  it.each([
    ['*', '*'],
    ['https://Example.org', 'https://example.org'],
    ['https://example.org:443/', 'https://example.org'],
    ['http://localhost:5173', 'http://localhost:5173'],
    ['http://[::1]:8000', 'http://[::1]:8000'],
    ['tauri://localhost', 'tauri://localhost'],
  ])('%s is sent as %s', (text, origin) => expect(readOrigin(text)).toBe(origin));

  it.each(['', 'example.org', 'https://example.org/page', 'https://*.example.org', 'http://a b', 'null', 'http://a:b'])(
    '"%s" is refused, with an example',
    (text) => expect(() => readOrigin(text)).toThrow(/^".*" is not an origin: .* such as https:\/\/example\.org/),
  );
});

describe('a page of another origin', () => {
  it('may ask before it sends a request, without a key', async () => {
    const response = await appFor('http://localhost:5173', `${PAGE}/`).fetch(preflight(PAGE));
    expect(response.status).toBe(204);
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'access-control-allow-origin': PAGE,
      'access-control-allow-methods': 'GET,POST,DELETE',
      'access-control-allow-headers': 'authorization,content-type,x-stainless-os',
      vary: expect.stringContaining('Origin'),
    });
    expect(response.headers.get('access-control-allow-credentials')).toBeNull();
  });

  it('reads answers, streams and errors, with the headers that clients use', async () => {
    const app = appFor(PAGE);
    const whole = await app.fetch(post('/v1/chat/completions', chat('And it came'), keyed(PAGE)));
    const stream = await app.fetch(post('/v1/chat/completions', chat('And', { stream: true }), keyed(PAGE)));
    await stream.text();
    const keyless = await app.fetch(post('/v1/chat/completions', chat('And it came'), { origin: PAGE }));
    const unknown = await app.fetch(new Request('http://localhost/v1/none', { headers: keyed(PAGE) }));
    expect([whole, stream, keyless, unknown].map(({ status }) => status)).toEqual([200, 200, 401, 404]);
    for (const response of [whole, stream, keyless, unknown]) {
      expect(allowed(response)).toBe(PAGE);
      expect(response.headers.get('access-control-expose-headers')).toContain('x-request-id');
      expect(response.headers.get('vary')).toContain('Origin');
    }
  });

  it('is not allowed by default, nor where others are', async () => {
    for (const app of [appFor(), appFor('https://other.example')])
      for (const response of [
        await app.fetch(preflight(PAGE)),
        await app.fetch(new Request('http://localhost/v1/models', { headers: keyed(PAGE) })),
      ])
        expect(allowed(response)).toBeNull();
  });

  it('may be any where * is allowed', async () => {
    const app = appFor('*', 'https://other.example');
    expect(allowed(await app.fetch(preflight(PAGE)))).toBe('*');
    expect(allowed(await app.fetch(new Request('http://localhost/health', { headers: { origin: PAGE } })))).toBe('*');
  });

  it('is refused by name where it is no origin', () => {
    expect(() => appFor('example.org')).toThrow('"example.org" is not an origin');
  });
});
