/**
 * @file What a dialect is: how a body becomes a turn, and how a turn's events become an answer, whole or as a stream.
 */
import type { ErrorBody } from '../http-error.ts';
import type { Turn, TurnEvent } from '../turn.ts';

/** A body, read. */
export interface DialectRequest {
  readonly turn: Turn;
  readonly stream: boolean;
  /** The end of a stream tells the numbers of tokens. */
  readonly includeUsage: boolean;
}

/** What answers say of themselves. */
export interface AnswerFacts {
  readonly id: string;
  /** Seconds. */
  readonly created: number;
  readonly model: string;
  /** Says which weights these are. */
  readonly fingerprint: string;
  readonly includeUsage: boolean;
}

export interface Dialect {
  /** What ids begin with. */
  readonly idPrefix: string;
  /** @throws HttpError names the field. */
  read(body: unknown): DialectRequest;
  whole(facts: AnswerFacts, events: readonly TurnEvent[]): unknown;
  /** The texts of a stream's events. */
  stream(facts: AnswerFacts, events: AsyncIterable<TurnEvent>): AsyncGenerator<string, void, undefined>;
  error(error: ErrorBody): unknown;
}
