/**
 * @file When a request starts: as many at once as there are rows, and keys share them by tokens.
 */
import { HttpError } from './http-error.ts';

/** Frees the row. */
export type Release = () => void;

interface Waiting {
  /** Tokens. */
  readonly cost: number;
  readonly start: (release: Release) => void;
  readonly refuse: (error: unknown) => void;
}

/** Turns that a request may have to wait for, if its key is not busy. */
const MAX_TURNS = 64;

/** The requests of a key. */
interface Flow {
  readonly waiting: Waiting[];
  /** Tokens that it may start. */
  deficit: number;
}

/**
 * A queue in which each key's requests wait behind each other, and keys take turns: deficit round robin (Shreedhar and Varghese 1995). In
 * each turn a key may start as many tokens more as the cheapest request has that is the next of its key, and one request at most. So a
 * key with long requests gets as many tokens as one with short ones.
 */
export class FairQueue {
  readonly #rows: number;
  readonly #most: number;
  readonly #waitMs: number;
  /** By key, in the order of their next turn. */
  readonly #waiting = new Map<string, Flow>();
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
   * @param cost tokens that it is expected to take.
   * @throws HttpError 429 where too many wait, 503 after a time; the signal's reason.
   */
  enter(key: string, signal: AbortSignal, cost = 1): Promise<Release> {
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
        cost,
        start: (release) => {
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
          resolve(release);
        },
        refuse: leave,
      };
      const flow = this.#waiting.get(key);
      if (flow) flow.waiting.push(entry);
      else this.#waiting.set(key, { waiting: [entry], deficit: 0 });
      this.#count++;
    });
  }

  /** Refuses all that wait. */
  refuseAll(error: unknown): void {
    for (const entry of [...this.#waiting.values()].flatMap(({ waiting }) => [...waiting])) entry.refuse(error);
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
      const costs = Array.from(this.#waiting.values(), ({ waiting }) => waiting[0].cost);
      // Few turns pass before the dearest one starts.
      const quantum = Math.max(Math.min(...costs), Math.max(...costs) / MAX_TURNS);
      const [key, flow] = this.#waiting.entries().next().value!;
      // The key goes to the end of the turns.
      this.#waiting.delete(key);
      flow.deficit += quantum;
      const { cost } = flow.waiting[0];
      const entry = cost <= flow.deficit ? flow.waiting.shift()! : null;
      if (flow.waiting.length > 0) this.#waiting.set(key, flow);
      if (!entry) continue;
      flow.deficit -= cost;
      this.#count--;
      entry.start(this.#take());
    }
  }

  #remove(key: string, entry: Waiting): boolean {
    const waiting = this.#waiting.get(key)?.waiting ?? [];
    const index = waiting.indexOf(entry);
    if (index < 0) return false;
    waiting.splice(index, 1);
    if (waiting.length === 0) this.#waiting.delete(key);
    this.#count--;
    return true;
  }
}
