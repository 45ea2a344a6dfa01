/**
 * @file Requests as they come: from a list, or from whoever makes them while others are being worked on.
 */

/** Something to iterate over, now or in time. */
export type Source<T> = Iterable<T> | AsyncIterable<T>;

/** Takes one request at a time from a source, and only when there is room for it. */
export class RequestQueue<T> {
  readonly #iterator: Iterator<T> | AsyncIterator<T>;
  /** The request that was asked for and has not come yet. */
  #asked: Promise<void> | null = null;
  #arrived: { readonly value: T } | null = null;
  #failure: { readonly error: unknown } | null = null;
  /** Whether no more will come. */
  done = false;

  constructor(source: Source<T>) {
    this.#iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]();
  }

  /** The next request if it is there. @throws what the source threw. */
  ready(): { readonly value: T } | null {
    this.#ask();
    if (this.#failure) throw this.#failure.error;
    const arrived = this.#arrived;
    this.#arrived = null;
    return arrived;
  }

  /** Waits until there is a request, or none will come. @throws what the source threw, or the signal's reason. */
  async wait(signal?: AbortSignal): Promise<void> {
    this.#ask();
    if (!this.#asked) return;
    signal?.throwIfAborted();
    let tell = () => {};
    const aborted = new Promise<void>((_, fail) => {
      tell = () => fail(signal!.reason);
    });
    signal?.addEventListener('abort', tell);
    try {
      await Promise.race([this.#asked, aborted]);
    } finally {
      signal?.removeEventListener('abort', tell);
    }
  }

  /** Tells the source that nothing more is wanted. */
  close(): void {
    if (this.done) return;
    this.done = true;
    // It may be waiting for something that never comes: nobody waits for it.
    void Promise.resolve(this.#iterator.return?.()).catch(() => undefined);
  }

  #ask(): void {
    if (this.done || this.#asked || this.#arrived) return;
    const result = this.#iterator.next();
    if (!(result instanceof Promise)) {
      this.#settle(result as IteratorResult<T>);
      return;
    }
    this.#asked = result.then(
      (next) => this.#settle(next),
      (error: unknown) => {
        this.#asked = null;
        this.done = true;
        this.#failure = { error };
      },
    );
  }

  #settle(result: IteratorResult<T>): void {
    this.#asked = null;
    if (result.done) this.done = true;
    else this.#arrived = { value: result.value };
  }
}
