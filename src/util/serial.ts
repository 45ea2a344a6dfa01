/**
 * @file Runs that must not overlap.
 */

/** Runs one function after the other, in the order of the calls. A failure ends its own run only. */
export class Serial {
  #idle: Promise<unknown> = Promise.resolve();

  run<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#idle.then(work);
    this.#idle = result.catch(() => undefined);
    return result;
  }
}
