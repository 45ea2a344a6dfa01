/**
 * @file Several generators as one.
 */

/** Makes a generator that ends when the signal aborts. */
export type Source<T> = (signal: AbortSignal) => AsyncGenerator<T, void, undefined>;

/**
 * The values of all sources, as they come. The first error ends all of them.
 * @param most sources that run at the same time; the others begin when one ends.
 */
export async function* merged<T>(
  sources: readonly Source<T>[],
  most: number,
  signal: AbortSignal,
): AsyncGenerator<T, void, undefined> {
  if (sources.length === 1) {
    yield* sources[0](signal);
    return;
  }
  const end = new AbortController();
  const both = AbortSignal.any([signal, end.signal]);
  const running = new Map<AsyncGenerator<T, void, undefined>, Promise<() => T | null>>();
  const ask = (source: AsyncGenerator<T, void, undefined>) => {
    const asked = source.next().then((result) => () => {
      if (result.done) {
        running.delete(source);
        return null;
      }
      ask(source);
      return result.value;
    });
    // An error after the first one is not told.
    asked.catch(() => undefined);
    running.set(source, asked);
  };
  let next = 0;
  try {
    while (next < sources.length || running.size > 0) {
      while (next < sources.length && running.size < most) ask(sources[next++](both));
      const value = (await Promise.race(running.values()))();
      if (value !== null) yield value;
    }
  } finally {
    end.abort(new DOMException('another part of the request has ended it', 'AbortError'));
    await Promise.allSettled([...running.keys()].map((source) => source.return()));
  }
}
