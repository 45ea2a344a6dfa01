/**
 * @file When a request starts: as many at once as there are rows, and keys take turns.
 */
import { HttpError } from './http-error.ts';

/** Frees the row. */
export type Release = () => void;

interface Waiting {
  readonly start: (release: Release) => void;
  readonly refuse: (error: unknown) => void;
}

/** A queue in which each key's requests wait behind each other, and keys take turns. */
export class FairQueue {
  readonly #rows: number;
  readonly #most: number;
  readonly #waitMs: number;
  /** By key, in the order of their next turn. */
  readonly #waiting = new Map<string, Waiting[]>();
  #running = 0;
  #count = 0;

  /**
   * @param rows most requests at work.
   * @param most most requests that wait.
   * @param waitMs after which a request that waits is refused.
   */
  constructor(rows: number, most: number, waitMs: number) {
    this.#rows = rows;
    this.#most = most;
    this.#waitMs = waitMs;
  }

  get running(): number {
    return this.#running;
  }

  get waiting(): number {
    return this.#count;
  }

  /**
   * Waits for a row.
   * @throws HttpError 429 where too many wait, 503 after a time; the signal's reason.
   */
  enter(key: string, signal: AbortSignal): Promise<Release> {
    signal.throwIfAborted();
    if (this.#running < this.#rows && this.#count === 0) return Promise.resolve(this.#take());
    if (this.#count >= this.#most)
      return Promise.reject(
        new HttpError(429, `${this.#count} requests are waiting already`, { code: 'queue_full', retryAfter: 2 }),
      );
    return new Promise((resolve, reject) => {
      const leave = (error: unknown) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        if (this.#remove(key, entry)) reject(error);
      };
      const onAbort = () => leave(signal.reason);
      const timer = setTimeout(() => {
        const seconds = this.#waitMs / 1000;
        leave(new HttpError(503, `no row became free within ${seconds} s`, { code: 'queue_timeout', retryAfter: 5 }));
      }, this.#waitMs);
      timer.unref?.();
      signal.addEventListener('abort', onAbort);
      const entry: Waiting = {
        start: (release) => {
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
          resolve(release);
        },
        refuse: leave,
      };
      const list = this.#waiting.get(key);
      if (list) list.push(entry);
      else this.#waiting.set(key, [entry]);
      this.#count++;
    });
  }

  /** Refuses all that wait. */
  refuseAll(error: unknown): void {
    for (const entry of [...this.#waiting.values()].flat()) entry.refuse(error);
  }

  #take(): Release {
    this.#running++;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#running--;
      this.#next();
    };
  }

  #next(): void {
    while (this.#running < this.#rows && this.#count > 0) {
      const [key, list] = this.#waiting.entries().next().value!;
      const entry = list.shift()!;
      this.#count--;
      // The key goes to the end of the turns.
      this.#waiting.delete(key);
      if (list.length > 0) this.#waiting.set(key, list);
      entry.start(this.#take());
    }
  }

  #remove(key: string, entry: Waiting): boolean {
    const list = this.#waiting.get(key);
    const at = list?.indexOf(entry) ?? -1;
    if (at < 0) return false;
    list!.splice(at, 1);
    if (list!.length === 0) this.#waiting.delete(key);
    this.#count--;
    return true;
  }
}
