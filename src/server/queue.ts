/**
 * @file When a request starts: as many at once as there are rows, and keys share them by tokens.
 */
import { HttpError } from './http-error.ts';

/** Frees the row. */
export type Release = () => void;

/** What a request is expected to take. */
export interface RequestSize {
  readonly tokens: number;
  /** Of its cache, at most. */
  readonly bytes: number;
}

interface Waiting {
  readonly size: RequestSize;
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
 * A queue in which each key's requests wait behind each other, and keys take turns: deficit round robin (Shreedhar and
 * Varghese 1995). In each turn a key may start as many tokens more as the cheapest request has that is the next of its
 * key, and one request at most. So a key with long requests gets as many tokens as one with short ones.
 */
export class FairQueue {
  readonly #rows: number;
  readonly #most: number;
  readonly #waitMs: number;
  readonly #mostBytes: number;
  #bytes = 0;
  /** By key, in the order of their next turn. */
  readonly #waiting = new Map<string, Flow>();
  #running = 0;
  #count = 0;

  /**
   * @param rows most requests at work.
   * @param most most requests that wait.
   * @param waitMs after which a request that waits is refused.
   * @param mostBytes of the caches of all requests at work.
   */
  constructor(rows: number, most: number, waitMs: number, mostBytes = Number.POSITIVE_INFINITY) {
    this.#mostBytes = mostBytes;
    this.#rows = rows;
    this.#most = most;
    this.#waitMs = waitMs;
  }

  get running(): number {
    return this.#running;
  }

  /** Bytes that the caches of the requests at work may come to. */
  get bytes(): number {
    return this.#bytes;
  }

  get waiting(): number {
    return this.#count;
  }

  /**
   * Waits for a row.
   * @throws HttpError 400 for what never fits the memory, 429 where too many wait, 503 after a time; the signal's
   * reason.
   */
  enter(key: string, signal: AbortSignal, size: RequestSize = { tokens: 1, bytes: 0 }): Promise<Release> {
    signal.throwIfAborted();
    if (size.bytes > this.#mostBytes)
      return Promise.reject(
        new HttpError(
          400,
          `the cache of this request may take ${size.bytes} bytes, and all caches together have ${this.#mostBytes}: ask for fewer tokens, or ` +
            'for another class of caches',
          { code: 'context_length_exceeded' },
        ),
      );
    if (this.#fits(size) && this.#count === 0) return Promise.resolve(this.#take(size));
    if (this.#count >= this.#most)
      return Promise.reject(
        new HttpError(429, `${this.#count} requests are waiting already`, { code: 'queue_full', retryAfter: 2 }),
      );
    return new Promise((resolve, reject) => {
      const leave = (error: unknown) => {
        clearTimeout(timer);
        signal.removeEventListener('abort', onAbort);
        if (!this.#remove(key, entry)) return;
        reject(error);
        // The next one may need less memory.
        this.#next();
      };
      const onAbort = () => leave(signal.reason);
      const timer = setTimeout(() => {
        const seconds = this.#waitMs / 1000;
        leave(new HttpError(503, `no row became free within ${seconds} s`, { code: 'queue_timeout', retryAfter: 5 }));
      }, this.#waitMs);
      timer.unref?.();
      signal.addEventListener('abort', onAbort);
      const entry: Waiting = {
        size,
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

  #fits({ bytes }: RequestSize): boolean {
    return this.#running < this.#rows && this.#bytes + bytes <= this.#mostBytes;
  }

  #take({ bytes }: RequestSize): Release {
    this.#running++;
    this.#bytes += bytes;
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#running--;
      this.#bytes -= bytes;
      this.#next();
    };
  }

  #next(): void {
    while (this.#running < this.#rows && this.#count > 0) {
      const costs = Array.from(this.#waiting.values(), ({ waiting }) => waiting[0].size.tokens);
      // Few turns pass before the dearest one starts.
      const quantum = Math.max(Math.min(...costs), Math.max(...costs) / MAX_TURNS);
      const [key, flow] = this.#waiting.entries().next().value!;
      const entry = flow.waiting[0];
      const { tokens } = entry.size;
      if (tokens <= flow.deficit + quantum) {
        // Others that would fit wait as well: a large request must get its turn.
        if (!this.#fits(entry.size)) return;
        flow.waiting.shift();
      }
      flow.deficit += quantum;
      // The key goes to the end of the turns.
      this.#waiting.delete(key);
      if (flow.waiting.length > 0) this.#waiting.set(key, flow);
      if (tokens > flow.deficit) continue;
      flow.deficit -= tokens;
      this.#count--;
      entry.start(this.#take(entry.size));
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
