/**
 * @file The routes of the server, without sockets: requests in, answers out.
 */
import { type Context, Hono } from 'hono';
import * as v from 'valibot';
import { templateOf } from '../engine/messages.ts';
import { findJsonFlaw } from '../util/json-keys.ts';
import { chatCompletions } from './dialects/chat-completions.ts';
import { completions } from './dialects/completions.ts';
import { openaiError } from './dialects/openai.ts';
import type { AnswerFacts, Dialect } from './dialects/types.ts';
import { readBody, SESSION_ID } from './fields.ts';
import { HttpError, toHttpError } from './http-error.ts';
import { Metrics } from './metrics.ts';
import { randomId, type ServedModel } from './served-model.ts';
import { event, eventStream, SSE_HEADERS } from './sse.ts';
import type { Turn, TurnEvent } from './turn.ts';

export interface AppOptions {
  /** The first is what a request without a known route to another gets in /health. */
  readonly models: readonly ServedModel[];
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
}

/** A server's routes, and its end. */
export interface ServerApp {
  fetch(request: Request): Response | Promise<Response>;
  /** Refuses new requests, and those that wait. Those that are answered go on. */
  drain(): void;
}

/** For so long a stream may still be refused with a status of its own. */
const STATUS_MS = 5000;
const MAX_DEPTH = 64;

export function createApp(options: AppOptions): ServerApp {
  const { models, bodyBytes = 8 * 2 ** 20, pingMs = 15_000, stallMs = 60_000, log = () => {} } = options;
  const app = new Hono<{ Variables: { key: string; id: string } }>();
  const metrics = new Metrics();
  let draining = false;

  const modelOf = (name: string): ServedModel => {
    const found = models.find(({ id }) => id === name);
    if (found) return found;
    throw new HttpError(
      404,
      `there is no model "${name.slice(0, 200)}"; there are ${models.map(({ id }) => id).join(', ')}`,
      {
        code: 'model_not_found',
        param: 'model',
      },
    );
  };

  const fail = (c: Context, error: unknown): Response => {
    const http = toHttpError(error);
    if (http.status === 500) log({ level: 'error', path: c.req.path, error: String((error as Error)?.stack ?? error) });
    if (http.retryAfter !== null) c.header('retry-after', String(http.retryAfter));
    // A repeat can't help.
    if (http.status === 500 || http.status === 400) c.header('x-should-retry', 'false');
    return c.json(openaiError(http.body), http.status);
  };
  app.onError((error, c) => fail(c, error));
  app.notFound((c) => fail(c, new HttpError(404, `there is no route ${c.req.method} ${c.req.path}`)));

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

  const readJson = async (c: Context): Promise<unknown> => {
    if (!/^application\/json\b/i.test(c.req.header('content-type') ?? ''))
      throw new HttpError(415, 'send JSON, with "Content-Type: application/json"');
    const tooLarge = new HttpError(413, `the body is larger than ${bodyBytes} bytes`, { code: 'request_too_large' });
    if (Number(c.req.header('content-length') ?? 0) > bodyBytes) throw tooLarge;
    let size = 0;
    const pieces: Uint8Array[] = [];
    for await (const piece of c.req.raw.body ?? []) {
      size += piece.length;
      if (size > bodyBytes) throw tooLarge;
      pieces.push(piece);
    }
    const bytes = new Uint8Array(size);
    let at = 0;
    for (const piece of pieces) {
      bytes.set(piece, at);
      at += piece.length;
    }
    return parseBody(new TextDecoder().decode(bytes));
  };

  const answer = (dialect: Dialect) => async (c: Context) => {
    if (draining) throw shuttingDown(1);
    const started = performance.now();
    const { turn: read, stream, includeUsage } = dialect.read(await readJson(c));
    const session = c.req.header('x-session-id') ?? read.session;
    if (session !== null && !SESSION_ID.test(session))
      throw new HttpError(400, 'X-Session-Id: must be up to 128 of the characters A-Z a-z 0-9 . _ -', {
        param: 'X-Session-Id',
      });
    const turn: Turn = { ...read, session };
    const served = modelOf(turn.model);
    if ('messages' in turn.input && turn.input.tools && !served.callsTools)
      throw new HttpError(400, `tools: the chat template of ${served.id} has no calls of tools that are known`, {
        param: 'tools',
      });
    if ('messages' in turn.input && turn.input.tools && turn.options.topLogprobs !== undefined)
      throw new HttpError(400, 'logprobs: not together with tools, whose calls are no text', { param: 'logprobs' });
    if (session !== null) c.header('x-session-id', session);
    const gone = new AbortController();
    const leave = () => gone.abort(new DOMException('the client has left', 'AbortError'));
    c.req.raw.signal.addEventListener('abort', leave, { once: true });
    const facts: AnswerFacts = {
      id: dialect.idPrefix + randomId(24),
      created: Math.floor(Date.now() / 1000),
      model: served.id,
      fingerprint: served.model.fingerprint.slice(0, 24),
      includeUsage,
    };
    const events = observed(served.run(turn, c.get('key'), gone.signal), (end, error) => {
      c.req.raw.signal.removeEventListener('abort', leave);
      const seconds = (performance.now() - started) / 1000;
      if (end?.type === 'end') metrics.onEnd(served.id, end, seconds);
      else metrics.onFailure(served.id, gone.signal.aborted ? 'abort' : 'error');
      log({
        level: 'info',
        id: c.get('id'),
        path: c.req.path,
        model: served.id,
        seconds: Number(seconds.toFixed(3)),
        ...(end?.type === 'end'
          ? { finish: end.finish, ...end.usage }
          : { finish: gone.signal.aborted ? 'abort' : 'error' }),
        ...(error === undefined || gone.signal.aborted ? {} : { error: toHttpError(error).message }),
      });
    });
    if (!stream) {
      const all: TurnEvent[] = [];
      for await (const each of events) all.push(each);
      return c.json(dialect.whole(facts, all) as object);
    }
    // An error that comes soon gets its status; later there is only the stream to tell it.
    const first = events.next();
    let timer: ReturnType<typeof setTimeout> | undefined;
    await Promise.race([
      first,
      new Promise((resolve) => {
        timer = setTimeout(resolve, STATUS_MS);
      }),
    ]).finally(() => clearTimeout(timer));
    // Generators in front of this one may not have begun, and would end without ending it.
    const cancel = async () => {
      leave();
      await events.return(undefined);
    };
    for (const [name, value] of Object.entries(SSE_HEADERS)) c.header(name, value);
    return c.body(eventStream(told(dialect, facts, resumed(first, events), log), pingMs, stallMs, cancel));
  };
  app.post('/v1/chat/completions', answer(chatCompletions));
  app.post('/v1/completions', answer(completions));

  const listed = (served: ServedModel) => ({
    id: served.id,
    object: 'model',
    created: served.created,
    owned_by: 'keyhold',
    max_model_len: served.model.config.contextLength,
    keyhold: {
      family: served.model.config.name,
      weights: served.model.weights,
      cache_classes: served.options.cacheClasses.map(({ name, options: cache }) => ({ name, ...cache })),
      adapters: served.model.adapters.names,
    },
  });
  app.get('/v1/models', (c) => c.json({ object: 'list', data: models.map(listed) }));
  // Ids may hold slashes.
  app.get('/v1/models/:id{.+}', (c) => c.json(listed(modelOf(c.req.param('id')))));

  app.post('/tokenize', async (c) => {
    const body = readBody(TokenizeBody, await readJson(c));
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
    const body = readBody(DetokenizeBody, await readJson(c));
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
      for (const { queue } of models) queue.refuseAll(shuttingDown(1));
    },
  };
}

/** @param retryAfter seconds. */
const shuttingDown = (retryAfter?: number) =>
  new HttpError(503, 'the server is shutting down', { code: 'draining', retryAfter });

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

/** @throws HttpError 400 for what is no JSON object, or is nested too deep. */
function parseBody(text: string): unknown {
  if (findJsonFlaw(text, MAX_DEPTH, 'any')?.kind === 'depth')
    throw new HttpError(400, `the body is nested deeper than ${MAX_DEPTH} levels`);
  let value: unknown;
  try {
    // A key of this name would change objects themselves.
    value = JSON.parse(text, (key, each) => (key === '__proto__' ? undefined : each));
  } catch (error) {
    throw new HttpError(400, `the body is no JSON: ${(error as Error).message.slice(0, 200)}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new HttpError(400, 'the body must be a JSON object');
  return value;
}

/** Events as they are; told once of the last one, or of what ended them. */
async function* observed(
  events: AsyncGenerator<TurnEvent, void, undefined>,
  onEnd: (last: TurnEvent | null, error?: unknown) => void,
): AsyncGenerator<TurnEvent, void, undefined> {
  let last: TurnEvent | null = null;
  let failure: unknown;
  try {
    for await (const each of events) {
      last = each;
      yield each;
    }
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    onEnd(last, failure);
  }
}

/** Goes on after a first event that was asked for already. */
async function* resumed(
  first: Promise<IteratorResult<TurnEvent, void>>,
  events: AsyncGenerator<TurnEvent, void, undefined>,
): AsyncGenerator<TurnEvent, void, undefined> {
  const result = await first;
  if (result.done) return;
  yield result.value;
  yield* events;
}

/** The texts of a stream; an error is told in it, without an end that looks like success. */
async function* told(
  dialect: Dialect,
  facts: AnswerFacts,
  events: AsyncGenerator<TurnEvent, void, undefined>,
  log: (entry: Readonly<Record<string, unknown>>) => void,
): AsyncGenerator<string, void, undefined> {
  try {
    yield* dialect.stream(facts, events);
  } catch (error) {
    const http = toHttpError(error);
    if (http.status === 500) log({ level: 'error', error: String((error as Error)?.stack ?? error) });
    yield event(dialect.error(http.body));
  }
}
