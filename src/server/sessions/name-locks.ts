/**
 * @file Names that one request has at a time; others wait, in the order in which they came.
 */

interface Waiting {
  readonly start: () => void;
}

export class NameLocks {
  readonly #waitMs: number;
  readonly #tooLong: () => Error;
  readonly #waiting = new Map<string, Waiting[]>();

  /** @param tooLong the error after `waitMs`. */
  constructor(waitMs: number, tooLong: () => Error) {
    this.#waitMs = waitMs;
    this.#tooLong = tooLong;
  }

  isTaken(name: string): boolean {
    return this.#waiting.has(name);
  }

  /** @returns what gives the name back. @throws the signal's reason; the error of a wait that was too long. */
  async take(name: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    const list = this.#waiting.get(name);
    if (!list) this.#waiting.set(name, []);
    else
      await new Promise<void>((resolve, reject) => {
        const stop = (error: unknown) => {
          clear();
          list.splice(list.indexOf(entry), 1);
          reject(error);
        };
        const onAbort = () => stop(signal.reason);
        const timer = setTimeout(() => stop(this.#tooLong()), this.#waitMs);
        const clear = () => {
          clearTimeout(timer);
          signal.removeEventListener('abort', onAbort);
        };
        const entry: Waiting = {
          start: () => {
            clear();
            resolve();
          },
        };
        signal.addEventListener('abort', onAbort);
        list.push(entry);
      });
    let given = false;
    return () => {
      if (given) return;
      given = true;
      const next = this.#waiting.get(name)!.shift();
      if (next) next.start();
      else this.#waiting.delete(name);
    };
  }
}
