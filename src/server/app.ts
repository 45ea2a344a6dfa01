/**
 * @file The routes of the server, without sockets: requests in, answers out.
 */
import { type Context, Hono } from 'hono';
import { cors } from 'hono/cors';
import { checkOptionsObject } from '../util/option-names.ts';
import { readJson } from './body.ts';
import { chatCompletions } from './dialects/chat-completions.ts';
import { completions } from './dialects/completions.ts';
import { messages, messagesError } from './dialects/messages.ts';
import { openaiError } from './dialects/openai.ts';
import { addResponseRoutes, responses } from './dialects/responses.ts';
import type { Dialect } from './dialects/types.ts';
import { HttpError, shuttingDown, toHttpError } from './http-error.ts';
import { Metrics } from './metrics.ts';
import type { ModelEntry } from './model-entry.ts';
import { readOrigin } from './origins.ts';
import { randomId } from './random-id.ts';
import { SavedResponses } from './responses-store.ts';
import { answerRoute } from './routes/answer-route.ts';
import type { ServedEncoder } from './routes/embeddings.ts';
import { addModelRoutes } from './routes/model-routes.ts';
import { addCacheRoutes, addPageFiles } from './routes/page.ts';
import type { PageFiles } from './routes/page-files.ts';
import { findWriter } from './routes/queued-model.ts';
import type { ServedReranker } from './routes/rerank.ts';
import type { Routes } from './routes/routes.ts';
import { addTaskRoutes, tasksOf } from './routes/task-routes.ts';
import { addTokenRoutes } from './routes/token-routes.ts';

/** What a server serves, and its limits. */
export interface AppOptions {
  /** A `ServedModel` is in memory; an `OnDemandModel` is loaded by its first request. */
  readonly models: readonly ModelEntry[];
  /** Models that embed texts. */
  readonly encoders?: readonly ServedEncoder[];
  /** Models that rank texts. */
  readonly rerankers?: readonly ServedReranker[];
  /** The name of a key, for queues and sessions; null: the key is not known. @default all requests are accepted */
  readonly authorize?: (key: string | null) => string | null;
  /** `/metrics` needs no key. @default false */
  readonly openMetrics?: boolean;
  /**
   * Origins whose pages may call the server (CORS), such as `https://example.org`; `*`: all. Without keys, such a page
   * can also read the texts of sessions (`/caches/contents`).
   * @default none
   */
  readonly cors?: readonly string[];
  /** Most bytes of a body. @default 8 MiB */
  readonly bodyBytes?: number;
  /** Milliseconds without an event after which a stream gets a comment. @default 15000 */
  readonly pingMs?: number;
  /** Milliseconds after which a stream ends whose client takes nothing. @default 60000 */
  readonly stallMs?: number;
  /** A line of the log, without anything of prompts and answers. */
  readonly log?: (entry: Readonly<Record<string, unknown>>) => void;
  /** What `/version` gives. @default none */
  readonly version?: string;
  /** Files of the page at `/`. @default no page */
  readonly page?: PageFiles;
}

/** A server's routes, and its end. */
export interface ServerApp {
  /** Answers one request. */
  fetch(request: Request): Response | Promise<Response>;
  /** Refuses new requests, and those that wait. Those that are answered go on. */
  drain(): void;
}

/**
 * Makes the routes of a server, without a socket: `fetch` answers requests.
 * @throws InputError for `cors` with a text that is no origin.
 */
export function createApp(options: AppOptions): ServerApp {
  checkOptionsObject('createApp', options, ['models']);
  const { models, encoders = [], rerankers = [], log = () => {} } = options;
  const { bodyBytes = 8 * 2 ** 20, pingMs = 15_000, stallMs = 60_000 } = options;
  const app = new Hono() as Routes;
  const metrics = new Metrics();
  let draining = false;

  const tasks = tasksOf(encoders, rerankers);
  const others = [tasks.embeddings, tasks.reranking];
  const modelOf = (name: string, key: string) => findWriter(models, others, name, key);

  const fail = (c: Context, error: unknown): Response => {
    const http = toHttpError(error);
    // An end because the client has left is no error.
    if (http.status === 500 && !c.req.raw.signal.aborted)
      log({ level: 'error', path: c.req.path, error: String((error as Error)?.stack ?? error) });
    if (http.retryAfter !== null) c.header('retry-after', String(http.retryAfter));
    // A repeat can't help.
    if (http.status === 500 || http.status === 400) c.header('x-should-retry', 'false');
    const errorOf = c.req.path.startsWith('/v1/messages') ? messagesError : openaiError;
    return c.json(errorOf(http.body), http.status);
  };
  app.onError((error, c) => fail(c, error));
  app.notFound((c) => fail(c, noRoute(app, c)));

  if (options.page) addPageFiles(app, options.page);

  if (options.cors?.length) addCors(app, options.cors.map(readOrigin));
  addIdentity(app, options);

  const answer = (dialect: Dialect) =>
    answerRoute(dialect, {
      modelOf,
      metrics,
      log,
      bodyBytes,
      pingMs,
      stallMs,
      isDraining: () => draining,
    });
  app.post('/v1/chat/completions', answer(chatCompletions));
  app.post('/v1/completions', answer(completions));
  const saved = new SavedResponses();
  app.post('/v1/responses', answer(responses(saved)));
  addResponseRoutes(app, saved);
  app.post('/v1/messages', answer(messages));
  const readBody = (c: Context) => {
    if (draining) throw shuttingDown(1);
    return readJson(c, bodyBytes);
  };
  addTaskRoutes(app, models, tasks, { readBody, log });
  addCacheRoutes(app, models);

  addModelRoutes(app, models, others);
  addTokenRoutes(app, models, bodyBytes);

  const ready = (c: Context) => (draining ? fail(c, shuttingDown()) : c.json({ status: 'ok' }));
  app.get('/health', ready);
  app.get('/ready', ready);
  app.get('/health/ready', ready);
  app.get('/health/live', (c) => c.json({ status: 'ok' }));
  app.get('/version', (c) => c.json({ version: options.version ?? null }));
  app.get('/metrics', (c) => c.text(metrics.text(models)));

  return {
    fetch: (request) => app.fetch(request),
    drain() {
      draining = true;
      for (const { loaded } of models) loaded?.queue.refuseAll(shuttingDown(1));
      for (const { queue } of [...encoders, ...rerankers]) queue.refuseAll(shuttingDown(1));
    },
  };
}

/** No route: names the one of another method, or with or without /v1, where there is one. */
function noRoute(app: Routes, c: Context): HttpError {
  const { method, path } = c.req;
  const there = app.routes.filter((route) => route.method !== 'ALL');
  const others = there.filter((route) => route.path === path);
  const paths = [`/v1${path}`, path.replace(/^\/v1/, '')];
  const near = others[0] ?? there.find((route) => route.method === method && paths.includes(route.path));
  const message = `there is no route ${method} ${path}${near ? `; there is ${near.method} ${near.path}` : ''}`;
  if (others.length === 0) return new HttpError(404, message);
  c.header('allow', [...new Set(others.map((route) => route.method))].join(', '));
  return new HttpError(405, message);
}

/** Answers preflights, which have no key. No cookies are used, so credentials are not allowed. */
function addCors(app: Routes, origins: readonly string[]): void {
  app.use(
    cors({
      origin: origins.includes('*') ? '*' : [...origins],
      allowMethods: ['GET', 'POST', 'DELETE'],
      exposeHeaders: ['x-request-id', 'x-session-id', 'retry-after', 'x-should-retry'],
      maxAge: 86_400,
    }),
  );
}

/** Gives each request an id, and the name of its key. @throws HttpError 401 for a request without a known key. */
function addIdentity(app: Routes, { authorize, openMetrics = false }: AppOptions): void {
  const isOpen = (path: string) =>
    path === '/health' || path.startsWith('/health/') || path === '/ready' || (openMetrics && path === '/metrics');
  app.use(async (c, next) => {
    const given = c.req.header('x-request-id') ?? '';
    const id = /^[A-Za-z0-9-]{1,64}$/.test(given) ? given : randomId(16);
    c.header('x-request-id', id);
    c.set('id', id);
    if (!isOpen(c.req.path)) {
      const bearer = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
      const key = authorize ? authorize(bearer ?? c.req.header('x-api-key') ?? null) : '';
      if (key === null)
        throw new HttpError(
          401,
          'the API key is missing or wrong; send it as "Authorization: Bearer KEY" or "x-api-key: KEY"',
          { code: 'invalid_api_key' },
        );
      c.set('key', key);
    }
    await next();
  });
}
