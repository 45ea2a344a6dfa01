/**
 * @file The routes of the server, without sockets: requests in, answers out.
 */
import { type Context, Hono } from 'hono';
import * as v from 'valibot';
import { templateOf } from '../engine/messages.ts';
import { type AdaptedModel, answerRoute } from './answer-route.ts';
import { readJson } from './body.ts';
import { chatCompletions } from './dialects/chat-completions.ts';
import { completions } from './dialects/completions.ts';
import { messages, messagesError, readCount } from './dialects/messages.ts';
import { openaiError } from './dialects/openai.ts';
import { responses } from './dialects/responses.ts';
import type { Dialect } from './dialects/types.ts';
import { readEmbeddings, type ServedEncoder } from './embeddings.ts';
import { readBody } from './fields.ts';
import { HttpError, shuttingDown, toHttpError } from './http-error.ts';
import { Metrics } from './metrics.ts';
import { addCacheRoutes, addPageFiles } from './page.ts';
import type { PageFiles } from './page-files.ts';
import { SavedResponses } from './responses-store.ts';
import { randomId, type ServedModel } from './served-model.ts';

export interface AppOptions {
  /** The first is what a request without a known route to another gets in /health. */
  readonly models: readonly ServedModel[];
  /** Models that embed texts. */
  readonly encoders?: readonly ServedEncoder[];
  /** The name of a key, for queues and sessions; null: the key is not known. @default all requests are accepted */
  readonly authorize?: (key: string | null) => string | null;
  /** Most bytes of a body. @default 8 MiB */
  readonly bodyBytes?: number;
  /** Milliseconds without an event after which a stream gets a comment. @default 15000 */
  readonly pingMs?: number;
  /** Milliseconds after which a stream ends whose client takes nothing. @default 60000 */
  readonly stallMs?: number;
  /** A line of the log, without anything of prompts and answers. */
  readonly log?: (entry: Readonly<Record<string, unknown>>) => void;
  readonly version?: string;
  /** Files of the page at `/`. @default no page */
  readonly page?: PageFiles;
}

/** A server's routes, and its end. */
export interface ServerApp {
  fetch(request: Request): Response | Promise<Response>;
  /** Refuses new requests, and those that wait. Those that are answered go on. */
  drain(): void;
}

export function createApp(options: AppOptions): ServerApp {
  const { models, encoders = [], bodyBytes = 8 * 2 ** 20, pingMs = 15_000, stallMs = 60_000, log = () => {} } = options;
  const app = new Hono<{ Variables: { key: string; id: string } }>();
  const metrics = new Metrics();
  let draining = false;

  const find = <T extends { readonly id: string }>(list: readonly T[], name: string): T => {
    const found = list.find(({ id }) => id === name);
    if (found) return found;
    const there =
      list.length === 0 ? 'none of this kind is served' : `there are ${list.map(({ id }) => id).join(', ')}`;
    throw new HttpError(404, `there is no model "${name.slice(0, 200)}"; ${there}`, {
      code: 'model_not_found',
      param: 'model',
    });
  };
  const modelOf = (name: string): ServedModel => find(models, name);
  /** A model by its name, or with one of its live adapters: NAME:ADAPTER. */
  const withAdapter = (name: string): AdaptedModel => {
    for (const served of models) {
      const adapter = name.startsWith(`${served.id}:`) ? name.slice(served.id.length + 1) : null;
      if (adapter !== null && served.model.adapters.names.includes(adapter)) return { served, adapter };
    }
    return { served: modelOf(name), adapter: null };
  };

  const fail = (c: Context, error: unknown): Response => {
    const http = toHttpError(error);
    if (http.status === 500) log({ level: 'error', path: c.req.path, error: String((error as Error)?.stack ?? error) });
    if (http.retryAfter !== null) c.header('retry-after', String(http.retryAfter));
    // A repeat can't help.
    if (http.status === 500 || http.status === 400) c.header('x-should-retry', 'false');
    const errorOf = c.req.path.startsWith('/v1/messages') ? messagesError : openaiError;
    return c.json(errorOf(http.body), http.status);
  };
  app.onError((error, c) => fail(c, error));
  app.notFound((c) => fail(c, new HttpError(404, `there is no route ${c.req.method} ${c.req.path}`)));

  if (options.page) addPageFiles(app, options.page);

  app.use(async (c, next) => {
    const given = c.req.header('x-request-id') ?? '';
    const id = /^[A-Za-z0-9-]{1,64}$/.test(given) ? given : randomId(16);
    c.header('x-request-id', id);
    c.set('id', id);
    const open = c.req.path === '/health' || c.req.path.startsWith('/health/') || c.req.path === '/ready';
    if (!open) {
      const bearer = /^Bearer (.+)$/i.exec(c.req.header('authorization') ?? '')?.[1];
      const key = options.authorize ? options.authorize(bearer ?? c.req.header('x-api-key') ?? null) : '';
      if (key === null)
        throw new HttpError(401, 'the API key is missing or wrong; send it as "Authorization: Bearer KEY"', {
          code: 'invalid_api_key',
        });
      c.set('key', key);
    }
    await next();
  });

  const answer = (dialect: Dialect) =>
    answerRoute(dialect, {
      modelOf: withAdapter,
      metrics,
      log,
      bodyBytes,
      pingMs,
      stallMs,
      isDraining: () => draining,
    });
  app.post('/v1/chat/completions', answer(chatCompletions));
  app.post('/v1/completions', answer(completions));
  app.post('/v1/responses', answer(responses(new SavedResponses())));
  app.post('/v1/messages', answer(messages));
  app.post('/v1/messages/count_tokens', async (c) => {
    const { model, input } = readCount(await readJson(c, bodyBytes));
    return c.json({ input_tokens: (await withAdapter(model).served.promptOf({ input })).tokens.length });
  });
  app.post('/v1/embeddings', async (c) => {
    if (draining) throw shuttingDown(1);
    const request = readEmbeddings(await readJson(c, bodyBytes));
    return c.json(await find(encoders, request.model).run(request, c.get('key'), c.req.raw.signal));
  });
  addCacheRoutes(app, models);

  const listed = (served: ServedModel) => ({
    id: served.id,
    object: 'model',
    created: served.created,
    owned_by: 'keyhold',
    max_model_len: served.model.config.contextLength,
    keyhold: {
      family: served.model.config.name,
      layers: served.model.config.nLayer,
      chat: served.model.chatTemplate !== null,
      weights: served.model.weights,
      cache_classes: served.options.cacheClasses.map(({ name, options: cache }) => ({ name, ...cache })),
      adapters: served.model.adapters.names,
    },
  });
  const all = () => [
    ...models.flatMap((served) => {
      const model = listed(served);
      const adapted = served.model.adapters.names.map((name) => ({
        ...model,
        id: `${served.id}:${name}`,
        parent: served.id,
      }));
      return [model, ...adapted];
    }),
    ...encoders.map(listedEncoder),
  ];
  app.get('/v1/models', (c) => c.json({ object: 'list', data: all() }));
  // Ids may hold slashes.
  app.get('/v1/models/:id{.+}', (c) => c.json(find(all(), c.req.param('id'))));

  app.post('/tokenize', async (c) => {
    const body = readBody(TokenizeBody, await readJson(c, bodyBytes));
    const { model } = body.model === undefined ? models[0] : modelOf(body.model);
    const text =
      body.messages === undefined
        ? (body.prompt ?? '')
        : templateOf(model, {}).render(body.messages.map((each) => ({ ...each, content: each.content ?? '' })));
    const addSpecialTokens = body.add_special_tokens ?? body.messages === undefined;
    const tokens = await model.tokenizer.encode(text, { addSpecialTokens });
    return c.json({ count: tokens.length, max_model_len: model.config.contextLength, tokens });
  });
  app.post('/detokenize', async (c) => {
    const body = readBody(DetokenizeBody, await readJson(c, bodyBytes));
    const { model } = body.model === undefined ? models[0] : modelOf(body.model);
    return c.json({ prompt: await model.tokenizer.decode(body.tokens, { skipSpecialTokens: false }) });
  });

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
      for (const { queue } of [...models, ...encoders]) queue.refuseAll(shuttingDown(1));
    },
  };
}

const listedEncoder = ({ id, created, model: { config } }: ServedEncoder) => ({
  id,
  object: 'model',
  created,
  owned_by: 'keyhold',
  max_model_len: config.contextLength,
  keyhold: { family: config.name, embeddings: true },
});

const TokenizeBody = v.looseObject({
  model: v.optional(v.string()),
  prompt: v.optional(v.string()),
  messages: v.optional(v.array(v.looseObject({ role: v.string(), content: v.nullish(v.string()) }))),
  add_special_tokens: v.optional(v.boolean()),
});
const DetokenizeBody = v.looseObject({
  model: v.optional(v.string()),
  tokens: v.array(v.pipe(v.number(), v.integer(), v.minValue(0))),
});
