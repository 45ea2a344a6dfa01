/**
 * @file Requests as they come: from a list, or from a source that makes them while others are being worked on.
 */

import { InputError } from '../../util/errors.ts';

/** Something to iterate over, now or in time. */
export type Source<T> = Iterable<T> | AsyncIterable<T>;

/** @throws InputError for requests that can't be iterated over. */
export function checkSource(requests: unknown): void {
  const isSource =
    typeof requests === 'object' &&
    requests !== null &&
    (Symbol.iterator in requests || Symbol.asyncIterator in requests);
  if (!isSource) throw new InputError('generateBatch takes a list of requests, or something else to iterate over');
}

/** Takes one request at a time from a source, and only when another one fits. */
export class RequestQueue<T> {
  readonly #iterator: Iterator<T> | AsyncIterator<T>;
  readonly #onChange: () => void;
  /** Whether a request was asked for and has not come yet. */
  #asked = false;
  #next: { readonly value: T } | null = null;
  #failure: { readonly error: unknown } | null = null;
  #done = false;

  /** @param onChange called when a request came later than it was asked for, or none will come. */
  constructor(source: Source<T>, onChange: () => void = () => {}) {
    this.#iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
    this.#onChange = onChange;
  }

  /** Whether no more will come. */
  get done(): boolean {
    return this.#done && !this.#failure && !this.#next;
  }

  /** Whether {@link ready} has something to say. */
  get arrived(): boolean {
    return this.#next !== null || this.#failure !== null;
  }

  /** The next request if it is there. @throws what the source threw. */
  ready(): { readonly value: T } | null {
    this.ask();
    if (this.#failure) throw this.#failure.error;
    const next = this.#next;
    this.#next = null;
    return next;
  }

  /** Asks the source for the next request. */
  ask(): void {
    if (this.#done || this.#asked || this.#next) return;
    const result = this.#iterator.next();
    if (!(result instanceof Promise)) {
      this.#take(result as IteratorResult<T>);
      return;
    }
    this.#asked = true;
    result
      .then(
        (next) => this.#take(next),
        (error: unknown) => {
          this.#done = true;
          this.#failure = { error };
        },
      )
      .finally(() => {
        this.#asked = false;
        this.#onChange();
      });
  }

  /** Tells the source that nothing more is wanted. */
  close(): void {
    if (this.#done) return;
    this.#done = true;
    // It may be waiting for something that never comes.
    void Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
  }

  #take(result: IteratorResult<T>): void {
    if (result.done) this.#done = true;
    else this.#next = { value: result.value };
  }
}
