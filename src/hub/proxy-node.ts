/**
 * @file Requests by way of a proxy: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY, which Node's own fetch does not
 * follow.
 */
import { HubError } from '../util/errors.ts';
import type { Environment } from './settings-node.ts';

/** A fetch that goes by a proxy, and what closes its connections. */
export interface ProxyFetch {
  readonly fetch: typeof globalThis.fetch;
  close(): Promise<void>;
}

/** undefined where the environment names no proxy. @throws HubError for a proxy that is no address. */
export async function proxyFetch(env: Environment): Promise<ProxyFetch | undefined> {
  const named = (name: string) => env[name.toLowerCase()] || env[name] || undefined;
  const all = named('ALL_PROXY');
  const [httpProxy, httpsProxy] = [address(named('HTTP_PROXY') ?? all), address(named('HTTPS_PROXY') ?? all)];
  if (httpProxy === undefined && httpsProxy === undefined) return undefined;
  // Loaded only where it is needed.
  const { EnvHttpProxyAgent, fetch } = await import('undici');
  const agent = new EnvHttpProxyAgent({
    // An empty text means none; undefined would be looked up in process.env.
    httpProxy: httpProxy ?? '',
    httpsProxy: httpsProxy ?? '',
    noProxy: named('NO_PROXY') ?? '',
  });
  const proxied = (url: string, init: object) => fetch(url, { ...init, dispatcher: agent });
  return { fetch: proxied as unknown as typeof globalThis.fetch, close: () => agent.close() };
}

function address(proxy: string | undefined): string | undefined {
  if (proxy === undefined) return undefined;
  const url = /^[a-z][a-z\d+.-]*:\/\//i.test(proxy) ? proxy : `http://${proxy}`;
  if (URL.canParse(url) && /^https?:$/.test(new URL(url).protocol)) return url;
  throw new HubError(
    `the proxy ${JSON.stringify(proxy)} is no http(s) address; set HTTPS_PROXY to one such as http://localhost:3128, ` +
      'or name the host in NO_PROXY',
  );
}
