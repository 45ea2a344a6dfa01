/**
 * @file What a dialect is: how a body becomes turns, and how their events become an answer, whole or as a stream.
 */
import type { ErrorBody } from '../http-error.ts';
import type { ChoiceEvent, Turn, TurnEvent } from '../turn.ts';

/** A body, read. */
export interface DialectRequest {
  /** One for each prompt. */
  readonly turns: readonly Turn[];
  readonly stream: boolean;
  /** The end of a stream says how many tokens there were. */
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
  /** The body, and the turns that it became. */
  readonly body: unknown;
  readonly turns: readonly Turn[];
  /** Whose request it is. */
  readonly key: string;
}

export interface Dialect {
  /** What ids begin with. */
  readonly idPrefix: string;
  /** @throws HttpError names the field. */
  read(body: unknown, key: string): DialectRequest;
  /** @param choices the events of each answer: those of the first prompt, then those of the next one. */
  whole(facts: AnswerFacts, choices: readonly (readonly TurnEvent[])[]): unknown;
  /** The texts of a stream's events. */
  stream(facts: AnswerFacts, events: AsyncIterable<ChoiceEvent>): AsyncGenerator<string, void, undefined>;
  error(error: ErrorBody): unknown;
  /** An event that ends a stream with an error; null: {@link stream} has sent it. */
  streamError(error: ErrorBody): string | null;
}
