/**
 * @file Routes that answer with text: from a body to turns, and from their events to an answer, whole or as a stream.
 */
import type { Context } from 'hono';
import { readJson } from '../body.ts';
import type { AnswerFacts, Dialect } from '../dialects/types.ts';
import { SESSION_ID, SESSION_RULE } from '../fields.ts';
import { HttpError, shuttingDown, toHttpError } from '../http-error.ts';
import { merged } from '../merge.ts';
import type { Metrics } from '../metrics.ts';
import type { NamedModel } from '../model-entry.ts';
import { randomId } from '../random-id.ts';
import { eventStream, SSE_HEADERS } from '../sse.ts';
import type { ChoiceEvent, Turn, TurnEnd, TurnEvent } from '../turn.ts';

export type Log = (entry: Readonly<Record<string, unknown>>) => void;

/** What a route needs of the server. */
export interface RouteContext {
  readonly modelOf: (name: string, key: string) => NamedModel;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly bodyBytes: number;
  readonly pingMs: number;
  readonly stallMs: number;
  readonly isDraining: () => boolean;
}

/** For so long a stream may still be refused with a status of its own. */
const STATUS_MS = 5000;

type Events = AsyncGenerator<ChoiceEvent, void, undefined>;

export function answerRoute(dialect: Dialect, route: RouteContext) {
  return async (c: Context): Promise<Response> => {
    if (route.isDraining()) throw shuttingDown(1);
    const started = performance.now();
    const key: string = c.get('key');
    const body = await readJson(c, route.bodyBytes);
    const { turns, stream, includeUsage } = dialect.read(body, key);
    const session = c.req.header('x-session-id') ?? turns[0].session;
    if (session !== null) {
      checkSession(session, turns);
      c.header('x-session-id', session);
    }
    const { entry, adapter } = route.modelOf(turns[0].model, key);
    const gone = new AbortController();
    const leave = () => gone.abort(new DOMException('the client has left', 'AbortError'));
    c.req.raw.signal.addEventListener('abort', leave, { once: true });
    const { served, release } = await entry.acquire();
    try {
      for (const turn of turns) served.check(turn);
    } catch (error) {
      release();
      throw error;
    }
    const facts: AnswerFacts = {
      id: dialect.idPrefix + randomId(24),
      created: Math.floor(Date.now() / 1000),
      model: turns[0].model,
      fingerprint: served.model.fingerprint.slice(0, 24),
      includeUsage,
      body,
      turns,
      key,
    };
    const run = async function* (turn: Turn, offset: number, signal: AbortSignal): Events {
      const options = adapter === null ? turn.options : { ...turn.options, adapters: adapter };
      for await (const each of served.run({ ...turn, options, session }, key, signal))
        yield { index: offset + each.index, event: each.event };
    };
    const sources = turns.map((turn, i) => (signal: AbortSignal) => run(turn, i * turn.answers, signal));
    const all = merged(sources, served.options.rows, gone.signal);
    const events = observed(all, (ends, error) => {
      release();
      c.req.raw.signal.removeEventListener('abort', leave);
      const seconds = (performance.now() - started) / 1000;
      report(route, c, { model: served.id, seconds, ends, error, aborted: gone.signal.aborted });
    });
    if (!stream) return c.json(dialect.whole(facts, await choicesOf(turns, events)) as object);
    // An error that comes soon gets its status; later it can only be an event of the stream.
    const first = events.next();
    await settledWithin(first, STATUS_MS);
    // Generators in front of this one may not have begun, and would end without ending it.
    const cancel = async () => {
      leave();
      await events.return(undefined);
    };
    for (const [name, value] of Object.entries(SSE_HEADERS)) c.header(name, value);
    const texts = withErrors(dialect, facts, resumed(first, events), logUnless(gone.signal, route.log));
    return c.body(eventStream(texts, route.pingMs, route.stallMs, c.req.raw.signal, cancel));
  };
}

/** How the answers to a request ended. */
interface RequestEnd {
  readonly model: string;
  readonly seconds: number;
  readonly ends: readonly TurnEnd[];
  readonly error: unknown;
  /** Whether the client has left. */
  readonly aborted: boolean;
}

/** Counts and logs the end of a request. */
function report({ log, metrics }: RouteContext, c: Context, end: RequestEnd): void {
  const { model, seconds, ends, error, aborted } = end;
  for (const each of ends) metrics.onEnd(model, each, seconds);
  if (error !== undefined || ends.length === 0) metrics.onFailure(model, aborted ? 'abort' : 'error');
  log({
    ...entryOf(c, model, seconds),
    ...summaryOf(ends, error === undefined, aborted),
    ...(error === undefined || aborted ? {} : { error: toHttpError(error).message }),
  });
}

/** What a line of the log begins with. */
export const entryOf = (c: Context, model: string, seconds: number) => ({
  level: 'info',
  id: c.get('id'),
  path: c.req.path,
  model,
  seconds: Number(seconds.toFixed(3)),
});

/** All events of each answer. */
async function choicesOf(turns: readonly Turn[], events: Events): Promise<TurnEvent[][]> {
  const choices: TurnEvent[][] = turns.flatMap(({ answers }) => Array.from({ length: answers }, () => []));
  for await (const { index, event } of events) choices[index].push(event);
  return choices;
}

/** Waits until a promise is settled, or so many milliseconds. @throws what it is rejected with by then. */
async function settledWithin(promise: Promise<unknown>, ms: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([promise, timeout]).finally(() => clearTimeout(timer));
}

function checkSession(session: string, turns: readonly Turn[]): void {
  if (!SESSION_ID.test(session)) throw new HttpError(400, `X-Session-Id: ${SESSION_RULE}`, { param: 'X-Session-Id' });
  if (turns.length > 1) throw new HttpError(400, 'prompt: a request of a session has one prompt', { param: 'prompt' });
}

/** What the log says of the end. */
function summaryOf(ends: readonly TurnEnd[], succeeded: boolean, aborted: boolean) {
  if (!succeeded || ends.length === 0) return { finish: aborted ? 'abort' : 'error' };
  const sum = (key: keyof TurnEnd['usage']) => ends.reduce((sofar, { usage }) => sofar + usage[key], 0);
  return {
    finish: ends[0].finish,
    promptTokens: sum('promptTokens'),
    cachedTokens: sum('cachedTokens'),
    completionTokens: sum('completionTokens'),
  };
}

/** Events as they are; `onEnd` is called once, with the ends among them, and with what ended them before their time. */
async function* observed(events: Events, onEnd: (ends: readonly TurnEnd[], error?: unknown) => void): Events {
  const ends: TurnEnd[] = [];
  let failure: unknown;
  try {
    for await (const each of events) {
      if (each.event.type === 'end') ends.push(each.event);
      yield each;
    }
  } catch (error) {
    failure = error;
    throw error;
  } finally {
    onEnd(ends, failure);
  }
}

/** Goes on after a first event that was asked for already. */
async function* resumed(first: Promise<IteratorResult<ChoiceEvent, void>>, events: Events): Events {
  const result = await first;
  if (result.done) return;
  yield result.value;
  yield* events;
}

/** A log of errors, but for those of a client that has left. */
const logUnless =
  (gone: AbortSignal, log: Log): Log =>
  (entry) => {
    if (!gone.aborted) log(entry);
  };

/** The texts of a stream. An error is an event of it: an end without one would look like success. */
async function* withErrors(
  dialect: Dialect,
  facts: AnswerFacts,
  events: Events,
  log: Log,
): AsyncGenerator<string, void, undefined> {
  try {
    yield* dialect.stream(facts, events);
  } catch (error) {
    const http = toHttpError(error);
    if (http.status === 500) log({ level: 'error', error: String((error as Error)?.stack ?? error) });
    const last = dialect.streamError(http.body);
    if (last !== null) yield last;
  }
}
