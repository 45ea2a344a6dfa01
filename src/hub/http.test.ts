import { describe, expect, it } from 'vitest';
import { HubError } from '../util/errors.ts';
import { HubHttp, type HubHttpOptions, HubUnreachableError } from './http.ts';

interface Sent {
  readonly url: string;
  readonly authorization: string | null;
}

/** A fetch that answers by address, and remembers what it was sent. */
function scripted(answers: Record<string, () => Response>): { fetch: typeof globalThis.fetch; sent: Sent[] } {
  const sent: Sent[] = [];
  return {
    sent,
    async fetch(input, init) {
      const url = String(input);
      sent.push({ url, authorization: new Headers(init?.headers).get('authorization') });
      const answer = answers[url];
      if (answer === undefined) {
        const cause = Object.assign(new Error('ENOTFOUND'), { code: 'ENOTFOUND' });
        throw new TypeError('fetch failed', { cause });
      }
      return answer();
    },
  };
}

const redirect = (location: string) => () => new Response(null, { status: 307, headers: { location } });
const HUB = 'https://hub.example';

function http(fetch: typeof globalThis.fetch, options: Partial<HubHttpOptions> = {}): HubHttp {
  const defaults = { endpoint: HUB, token: 'hf_x', retries: 1, retryDelayMs: 1, stallMs: 1000 };
  return new HubHttp({ ...defaults, fetch, ...options });
}

const get = (client: HubHttp, url: string) => client.get(url, {}, new AbortController().signal);

describe('HubHttp', () => {
  it('keeps the token on the host of the endpoint', async () => {
    const { fetch, sent } = scripted({
      [`${HUB}/old`]: redirect('/new'),
      [`${HUB}/new`]: redirect('https://hub.example.evil/x'),
      'https://hub.example.evil/x': redirect(`${HUB}:8443/y`),
      [`${HUB}:8443/y`]: () => new Response('ok'),
    });
    const answer = await get(http(fetch), `${HUB}/old`);
    expect(answer.fromHub).toBe(false);
    expect(sent.map(({ authorization }) => authorization)).toEqual(['Bearer hf_x', 'Bearer hf_x', null, null]);
  });

  it('refuses redirects in circles, to unencrypted hosts, and to what is no web address', async () => {
    const { fetch } = scripted({
      [`${HUB}/circle`]: redirect('/circle'),
      [`${HUB}/plain`]: redirect('http://cdn.example/x'),
      [`${HUB}/file`]: redirect('file:///etc/passwd'),
    });
    await expect(get(http(fetch), `${HUB}/circle`)).rejects.toThrow(/redirects more than 8 times/);
    await expect(get(http(fetch), `${HUB}/plain`)).rejects.toThrow(/unencrypted/);
    await expect(get(http(fetch), `${HUB}/file`)).rejects.toThrow(/no web address/);
  });

  it('says why a host was not reached', async () => {
    const error = await get(http(scripted({}).fetch), `${HUB}/x`).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HubUnreachableError);
    expect(error).toBeInstanceOf(HubError);
    expect((error as HubError).message).toBe(
      'the connection to https://hub.example failed: ENOTFOUND; check the network',
    );
  });

  it('ends sooner while no host was reached', async () => {
    const { fetch, sent } = scripted({ [`${HUB}/a`]: () => new Response('{}') });
    const client = http(fetch, { retries: 4, offlineRetries: 1 });
    const api = client.api({ id: 'o/n', revision: 'main' });
    await expect(api(`${HUB}/none`)).rejects.toThrow(/check the network/);
    expect(sent).toHaveLength(2);
    await api(`${HUB}/a`);
    await expect(api(`${HUB}/none`)).rejects.toThrow(/check the network/);
    expect(sent).toHaveLength(2 + 1 + 5);
  });

  it('tries again where that may help, and not where it does not', async () => {
    const ask = async (...statuses: number[]) => {
      const left = [...statuses];
      const { fetch, sent } = scripted({
        [`${HUB}/a`]: () => new Response('{}', { status: left.shift() ?? 200, headers: { 'retry-after': '0' } }),
      });
      const response = http(fetch).api({ id: 'o/n', revision: 'main' })(`${HUB}/a`);
      const outcome = await response.then(
        ({ status }) => status,
        (error: HubError) => error.status,
      );
      return [outcome, sent.length];
    };
    expect(await ask(503)).toEqual([200, 2]);
    expect(await ask(429)).toEqual([200, 2]);
    expect(await ask(500, 500)).toEqual([500, 2]);
    expect(await ask(404)).toEqual([404, 1]);
    expect(await ask(403)).toEqual([403, 1]);
    expect(await ask(418)).toEqual([418, 1]);
  });

  it('names the file where only that is missing', async () => {
    const headers = { 'x-error-code': 'EntryNotFound' };
    const { fetch } = scripted({ [`${HUB}/a`]: () => new Response('', { status: 404, headers }) });
    const ask = http(fetch).api({ id: 'o/n', revision: 'main', file: 'x.json' });
    await expect(ask(`${HUB}/a`)).rejects.toThrow('o/n: has no file "x.json" at revision main');
  });

  it('stops waiting for the next try when told to', async () => {
    const controller = new AbortController();
    const reason = new Error('enough');
    const ask = http(scripted({}).fetch, { retryDelayMs: 60_000, signal: controller.signal }).api({
      id: 'o/n',
      revision: 'main',
    });
    setTimeout(() => controller.abort(reason), 20);
    await expect(ask(`${HUB}/a`)).rejects.toBe(reason);
  });
});
