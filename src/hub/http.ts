/**
 * @file Requests to the hub: which host gets the token, which failures are tried again, and what the others mean.
 */
import { HubError } from '../util/errors.ts';

/** What all requests of one download share. */
export interface HubHttpOptions {
  readonly endpoint: string;
  readonly token?: string;
  readonly fetch?: typeof globalThis.fetch;
  readonly signal?: AbortSignal;
  /** Failures in a row after which it ends. */
  readonly retries: number;
  /** The same while no host could be asked at all: there is probably no network. @default `retries` */
  readonly offlineRetries?: number;
  /** Before the first new try; doubles with each further one. */
  readonly retryDelayMs: number;
  /** Silence after which a connection counts as dropped. */
  readonly stallMs: number;
  /** Called before the wait for another try. */
  readonly onRetry?: (retry: HubRetry) => void;
  /**
   * What follows redirects. A browser does it itself, tells no page where they lead, and sends no token to another
   * host.
   * @default 'library'
   */
  readonly redirects?: 'library' | 'browser';
}

/** A request failed, and is tried again after a wait. */
export interface HubRetry {
  /** Why it failed. */
  readonly reason: string;
  /** Milliseconds until the next try. */
  readonly waitMs: number;
  /** Failures in a row so far. */
  readonly failures: number;
  /** Failures in a row after which it ends. */
  readonly retries: number;
}

/** The hub was not reached, or the connection was lost; another try may help. */
export class HubUnreachableError extends HubError {
  /** No host could be asked at all, so that there is probably no network. */
  isOffline = false;
}

/** An answer, after redirects. */
export interface HubAnswer {
  readonly response: Response;
  /** The headers of the hub's own answer, which may have redirected to a store that knows less. */
  readonly hubHeaders: Headers;
  /** Whether the answer comes from the host of the endpoint. */
  readonly fromHub: boolean;
}

/** Ends a request that hangs; the reader of its body calls `touch` when data comes. */
export interface StallGuard {
  readonly signal: AbortSignal;
  touch(): void;
  /** Until the next `touch`: no data is asked for. */
  pause(): void;
  done(): void;
}

/** No address was found for the host, or nothing answers there. */
const OFFLINE_CODES = new Set(['ENOTFOUND', 'EAI_AGAIN', 'ECONNREFUSED', 'ENETUNREACH', 'EHOSTUNREACH']);
const MAX_REDIRECTS = 8;
const MAX_WAIT_MS = 30_000;

/** Sends requests to one endpoint. */
export class HubHttp {
  readonly options: HubHttpOptions;
  readonly #origin: string;
  #wasReached = false;

  constructor(options: HubHttpOptions) {
    this.options = options;
    this.#origin = new URL(options.endpoint).origin;
  }

  /** A guard for one request; it also follows the caller's own signal. */
  guard(): StallGuard {
    const { stallMs, signal } = this.options;
    const controller = new AbortController();
    const stop = (): void => controller.abort(signal?.reason);
    if (signal?.aborted) stop();
    signal?.addEventListener('abort', stop, { once: true });
    let timer: ReturnType<typeof setTimeout> | undefined;
    const touch = (): void => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        controller.abort(new HubUnreachableError(`no data came for ${stallMs / 1000} seconds`));
      }, stallMs);
    };
    touch();
    return {
      signal: controller.signal,
      touch,
      pause: () => clearTimeout(timer),
      done: () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', stop);
      },
    };
  }

  /**
   * One GET, redirects followed by hand: the token goes to the endpoint's own host and nowhere else.
   *
   * @throws HubUnreachableError without an answer; HubError for redirects that lead nowhere good.
   */
  async get(url: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HubAnswer> {
    if (this.options.redirects === 'browser') return this.#getInBrowser(url, headers, signal);
    let target = new URL(url);
    let hubHeaders: Headers | undefined;
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      const fromHub = target.origin === this.#origin;
      const sent = new Headers(headers);
      sent.delete('authorization');
      if (fromHub && this.options.token !== undefined) sent.set('authorization', `Bearer ${this.options.token}`);
      let response: Response;
      try {
        response = await (this.options.fetch ?? globalThis.fetch)(target.href, {
          headers: sent,
          redirect: 'manual',
          signal,
        });
      } catch (cause) {
        throw this.asUnreachable(cause, target.origin, signal);
      }
      this.#wasReached = true;
      // A renamed repository redirects within the hub: the last answer of the hub itself is the one that tells.
      if (fromHub || hubHeaders === undefined) hubHeaders = response.headers;
      const location = response.headers.get('location');
      if (response.status < 300 || response.status >= 400 || location === null) {
        return { response, hubHeaders, fromHub };
      }
      await response.body?.cancel();
      const next = URL.canParse(location, target.href) ? new URL(location, target.href) : undefined;
      if (next === undefined || !/^https?:$/.test(next.protocol)) {
        throw new HubError(`${target.origin} redirects to something that is no web address`, response.status);
      }
      if (target.protocol === 'https:' && next.protocol === 'http:') {
        throw new HubError(
          `${target.origin} redirects to an unencrypted address (${next.origin}); refused`,
          response.status,
        );
      }
      target = next;
    }
    throw new HubError(`${new URL(url).origin} redirects more than ${MAX_REDIRECTS} times; is HF_ENDPOINT right?`);
  }

  async #getInBrowser(url: string, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<HubAnswer> {
    const { token } = this.options;
    // Any other header needs a question to the server before the request, which stores of large files do not answer.
    const { range } = headers;
    const sent = { ...(range ? { range } : {}), ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    try {
      const response = await (this.options.fetch ?? globalThis.fetch)(url, {
        headers: sent,
        signal,
        // The browser's own cache would hold large files a second time, and change ranges.
        cache: 'no-store',
      });
      return { response, hubHeaders: response.headers, fromHub: new URL(response.url).origin === this.#origin };
    } catch (cause) {
      throw this.asUnreachable(cause, this.#origin, signal);
    }
  }

  /** A failed fetch or read: the caller's abort reason, or a {@link HubUnreachableError}. */
  asUnreachable(cause: unknown, origin: string, signal: AbortSignal): unknown {
    if (this.options.signal?.aborted) return this.options.signal.reason;
    if (signal.aborted && signal.reason instanceof HubUnreachableError) return signal.reason;
    if (cause instanceof HubError) return cause;
    const root = rootOf(cause);
    const told = `the connection to ${origin} failed: ${messageOf(root)}; check the network`;
    const error = new HubUnreachableError(told, undefined, { cause });
    error.isOffline = !this.#wasReached && root instanceof Error && 'code' in root && OFFLINE_CODES.has(`${root.code}`);
    return error;
  }

  /**
   * A `fetch` for code that asks the hub's API: authorised, retried, whole, and throwing HubError for every refusal.
   */
  api(describe: HubSubject, retries = this.options.retries): typeof globalThis.fetch {
    return async (input) => {
      const url = typeof input === 'string' ? input : input instanceof URL ? input.href : input.url;
      const backoff = new Backoff({ ...this.options, retries });
      for (;;) {
        const guard = this.guard();
        try {
          const answer = await this.get(
            url,
            { accept: 'application/json', 'accept-encoding': 'identity' },
            guard.signal,
          );
          if (!answer.response.ok) {
            await answer.response.body?.cancel();
            throw refusal(answer, describe, this.options);
          }
          const body = await answer.response.arrayBuffer().catch((cause: unknown) => {
            throw this.asUnreachable(cause, new URL(url).origin, guard.signal);
          });
          return new Response(body, { status: 200, headers: answer.response.headers });
        } catch (error) {
          await backoff.next(error);
        } finally {
          guard.done();
        }
      }
    };
  }
}

type BackoffOptions = Pick<HubHttpOptions, 'retries' | 'offlineRetries' | 'retryDelayMs' | 'signal' | 'onRetry'>;

/** Waits between tries, and gives up after too many failures in a row. */
export class Backoff {
  readonly #options: BackoffOptions;
  #failures = 0;

  constructor(options: BackoffOptions) {
    this.#options = options;
  }

  /** To be called when real progress was made. */
  reset(): void {
    this.#failures = 0;
  }

  /** Returns after a wait where `error` may pass; throws it where it won't or enough was tried. */
  async next(error: unknown): Promise<void> {
    const { retryDelayMs, signal, offlineRetries } = this.#options;
    const isOffline = error instanceof HubUnreachableError && error.isOffline;
    const retries = Math.min(this.#options.retries, (isOffline ? offlineRetries : undefined) ?? Infinity);
    signal?.throwIfAborted();
    if (!isTransient(error) || this.#failures >= retries) throw error;
    const asked = error.retryAfterMs ?? 0;
    const wait = Math.min(MAX_WAIT_MS, Math.max(asked, retryDelayMs * 2 ** this.#failures));
    this.#failures++;
    this.#options.onRetry?.({ reason: error.message, waitMs: wait, failures: this.#failures, retries });
    await new Promise<void>((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        reject(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener('abort', stop);
        resolve();
      }, wait);
      signal?.addEventListener('abort', stop, { once: true });
    });
  }
}

/** A refusal that may pass: overload, or a link to a store that has expired. */
class TransientHubError extends HubError {
  readonly retryAfterMs: number | undefined;
  constructor(message: string, status: number, retryAfter: string | null) {
    super(message, status);
    const seconds = retryAfter === null ? Number.NaN : Number(retryAfter);
    this.retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : undefined;
  }
}

/** Whether another try, later, may succeed. */
export function isTransient(error: unknown): error is HubError & { retryAfterMs?: number } {
  return error instanceof HubUnreachableError || error instanceof TransientHubError;
}

/** What was asked for, to say so in messages. */
export interface HubSubject {
  readonly id: string;
  readonly revision: string;
  readonly file?: string;
}

/** Puts a status that is no success into words. */
export function refusal(
  answer: HubAnswer,
  { id, revision, file }: HubSubject,
  { endpoint, token }: Pick<HubHttpOptions, 'endpoint' | 'token'>,
): HubError {
  const { status, headers } = answer.response;
  const code = headers.get('x-error-code');
  const what = file === undefined ? id : `${id}/${file}`;
  if (status === 408 || status === 429 || status >= 500 || (!answer.fromHub && status === 403)) {
    const advice = status === 429 ? ' (too many requests; an access token raises the limit)' : '';
    return new TransientHubError(
      `${what}: the server answers with status ${status}${advice}; try again later`,
      status,
      headers.get('retry-after'),
    );
  }
  if (code === 'GatedRepo' || status === 403) {
    return new HubError(
      `${id}: access is restricted (a gated repository?); accept its terms at ${endpoint}/${id}, then ` +
        (token === undefined
          ? 'set HF_TOKEN to an access token of that account'
          : 'make sure that HF_TOKEN is of that account and may read gated repositories'),
      status,
    );
  }
  if (status === 401) {
    return new HubError(
      token === undefined
        ? `${id}: no such repository, or it is private or gated; check the name; if it is right, set HF_TOKEN to an access token`
        : `${id}: no such repository, or the access token is invalid or may not read it; check the name and HF_TOKEN`,
      status,
    );
  }
  if (status === 404) {
    if (code === 'RevisionNotFound') {
      return new HubError(
        `${id}: has no revision ${JSON.stringify(revision)}; name a branch, a tag, or a full commit hash`,
        404,
      );
    }
    if (code === 'EntryNotFound') {
      return new HubError(`${id}: has no file ${JSON.stringify(file ?? '')} at revision ${revision}`, 404);
    }
    return new HubError(`${id}: no such repository at ${endpoint}; check the name`, 404);
  }
  return new HubError(`${what}: the server answers with status ${status}`, status);
}

/** fetch says "fetch failed"; the reason is in its cause, or in the first of several, one for each address. */
function rootOf(error: unknown): unknown {
  let at = error;
  while (at instanceof Error && at.cause instanceof Error) at = at.cause;
  return at instanceof AggregateError && at.errors[0] instanceof Error ? at.errors[0] : at;
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message || error.name : String(error));
