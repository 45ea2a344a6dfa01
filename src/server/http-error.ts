/**
 * @file Errors as HTTP answers.
 */
import { KeyholdError } from '../util/errors.ts';

/** What a client is told. */
export interface ErrorBody {
  readonly message: string;
  readonly type: string;
  readonly param: string | null;
  readonly code: string | null;
}

/** A refusal, with its status. */
export class HttpError extends Error {
  readonly status: 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429 | 500 | 503;
  readonly type: string;
  readonly code: string | null;
  readonly param: string | null;
  /** Seconds after which it may be tried again. */
  readonly retryAfter: number | null;

  constructor(
    status: HttpError['status'],
    message: string,
    more: { type?: string; code?: string; param?: string; retryAfter?: number } = {},
  ) {
    super(message);
    this.name = 'HttpError';
    this.status = status;
    this.type = more.type ?? TYPES[status];
    this.code = more.code ?? null;
    this.param = more.param ?? null;
    this.retryAfter = more.retryAfter ?? null;
  }

  get body(): ErrorBody {
    return { message: this.message, type: this.type, param: this.param, code: this.code };
  }
}

const TYPES: Readonly<Record<HttpError['status'], string>> = {
  400: 'invalid_request_error',
  401: 'authentication_error',
  403: 'permission_error',
  404: 'not_found_error',
  405: 'invalid_request_error',
  413: 'invalid_request_error',
  415: 'invalid_request_error',
  429: 'rate_limit_error',
  500: 'server_error',
  503: 'overloaded_error',
};

/** What the fault is of a request, by the library's code of the error; all other errors are the server's. */
const REQUEST_FAULTS: Readonly<Record<string, string | undefined>> = {
  input: undefined,
  'cache-full': 'context_length_exceeded',
  tokenizer: undefined,
  adapter: undefined,
  format: undefined,
};

/** The cache of a session has one request at a time. */
export const sessionBusy = () =>
  new HttpError(429, 'this session is answering another request; wait for its end', {
    code: 'session_busy',
    retryAfter: 1,
  });

/** @param retryAfter seconds. */
export const shuttingDown = (retryAfter?: number) =>
  new HttpError(503, 'the server is shutting down', { code: 'draining', retryAfter });

/** Any error as a refusal. Messages of the server's own faults stay here: they may name paths. */
export function toHttpError(error: unknown): HttpError {
  if (error instanceof HttpError) return error;
  if (error instanceof KeyholdError) {
    if (error.code in REQUEST_FAULTS) return new HttpError(400, error.message, { code: REQUEST_FAULTS[error.code] });
    if (error.code === 'cache-busy') return sessionBusy();
    if (error.code === 'worker')
      return new HttpError(503, 'the engine has failed while it answered; it is started again', {
        code: 'engine_failed',
        retryAfter: 2,
      });
    if (error.code === 'memory')
      return new HttpError(503, 'there is not enough memory for this request', { retryAfter: 5 });
  }
  return new HttpError(500, 'the server has failed to answer this request; its log says why');
}
