/**
 * @file The server in Node: sockets, and its end.
 */
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { checkOptionsObject } from '../util/option-names.ts';
import { type AppOptions, createApp, type ServerApp } from './app.ts';
import { isLocal, keyCheck } from './keys-node.ts';
import { readPageFiles } from './routes/page-node.ts';

/** Options of `serve`. */
export interface ServeOptions extends Omit<AppOptions, 'authorize'> {
  /** Address to listen on; `0.0.0.0` is every address of this machine. @default '127.0.0.1' */
  readonly host?: string;
  /** Port to listen on; 0: any that is free. @default 8080 */
  readonly port?: number;
  /** The keys that clients may send. Without any, all programs of this machine may use the server. @default none */
  readonly apiKeys?: readonly string[];
  /** Serve without keys to other machines, too. @default false */
  readonly withoutKeys?: boolean;
}

/** A server that listens. */
export interface RunningServer {
  /** Its address, such as `http://127.0.0.1:8080`. */
  readonly url: string;
  /**
   * Refuses new requests, waits for those that are being answered, and saves the sessions.
   * @param timeoutMs milliseconds after which open connections are closed. @default 30000
   */
  close(timeoutMs?: number): Promise<void>;
}

/**
 * Starts an HTTP server with the protocols of OpenAI and Anthropic. The models stay the caller's: dispose of them
 * afterwards.
 * @throws InputError for an address that other machines reach, without keys, and for one that can't be listened on.
 * @example
 * ```ts
 * import { loadModelInWorker } from 'keyhold';
 * import { ServedModel, serve } from 'keyhold/server';
 *
 * const model = await loadModelInWorker();
 * const served = new ServedModel(model, {
 *   id: 'tiny',
 *   cacheClasses: [{ name: 'default', options: { policy: 'lastrec', cacheLength: 256 } }],
 *   rows: 8,
 *   queue: 64,
 *   queueMs: 60_000,
 *   maxTokens: 1024,
 *   sessions: 16,
 *   store: null,
 *   onLoss: (name, error) => console.error(name, error),
 * });
 * const server = await serve({ models: [served], port: 0 });
 * console.log(server.url);
 * await server.close();
 * await model.dispose();
 * ```
 */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  checkOptionsObject('serve', options, ['models']);
  const { host = '127.0.0.1', port = 8080, apiKeys = [], withoutKeys = false } = options;
  if (!isLocal(host) && apiKeys.length === 0 && !withoutKeys)
    throw new InputError(
      `other machines reach ${host}: give apiKeys, or allow requests without keys (option withoutKeys, --no-keys)`,
    );
  wholeNumber('port', port, 0, 65535);
  const local = isLocal(host);
  const page = options.page ?? (await readPageFiles()) ?? undefined;
  const app = createApp({ ...options, page, authorize: apiKeys.length > 0 ? keyCheck(apiKeys) : undefined });
  const listener = getRequestListener(
    (request) => (local && !namesThisMachine(request) ? refused() : app.fetch(request)),
    {
      overrideGlobalObjects: false,
    },
  );
  const server = createServer({ headersTimeout: 10_000, requestTimeout: 60_000 }, listener);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => reject(asInputError(error, host, port)));
    server.listen(port, host, resolve);
  });
  const { port: actual } = server.address() as AddressInfo;
  return {
    url: `http://${host.includes(':') ? `[${host}]` : host}:${actual}`,
    close: (timeoutMs = 30_000) => close(server, app, options, timeoutMs),
  };
}

/** An address that can't be listened on, in words. */
function asInputError(cause: NodeJS.ErrnoException, host: string, port: number): Error {
  const hints: Readonly<Record<string, string>> = {
    EADDRINUSE: 'another program listens there; choose another port, or 0 for any that is free',
    EACCES: 'ports below 1024 need more rights; choose another port',
    EADDRNOTAVAIL: 'this machine has no such address; 0.0.0.0 stands for all that it has',
    ENOTFOUND: 'there is no such host; give an address of this machine',
  };
  const hint = hints[cause.code ?? ''];
  return hint === undefined ? cause : new InputError(`port ${port} of ${host} can't be used: ${hint}`, { cause });
}

/** A page of another site may send requests to this machine under its own name (DNS rebinding). */
function namesThisMachine(request: Request): boolean {
  return isLocal(new URL(request.url).hostname);
}

const refused = () => new Response('this server answers under the name localhost only\n', { status: 403 });

async function close(server: Server, app: ServerApp, { models }: ServeOptions, timeoutMs: number): Promise<void> {
  app.drain();
  const closed = new Promise<void>((resolve) => {
    server.close(() => resolve());
  });
  server.closeIdleConnections();
  const timer = setTimeout(() => server.closeAllConnections(), timeoutMs);
  await closed;
  clearTimeout(timer);
  for (const { loaded } of models) await loaded?.sessions.saveAll();
}
