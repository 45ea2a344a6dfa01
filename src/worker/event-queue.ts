/**
 * @file Events that one side makes and the other reads in its own time.
 */
export class EventQueue<T> implements AsyncIterable<T> {
  #events: T[] = [];
  #wake: (() => void) | null = null;
  /** Whether no more will come. */
  ended = false;

  push(event: T): void {
    this.#events.push(event);
    this.#tell();
  }

  end(): void {
    this.ended = true;
    this.#tell();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, undefined> {
    for (;;) {
      const events = this.#events;
      this.#events = [];
      yield* events;
      if (this.#events.length > 0) continue;
      if (this.ended) return;
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
  }

  #tell(): void {
    this.#wake?.();
    this.#wake = null;
  }
}
