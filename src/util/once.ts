/**
 * @file Work that is done when it is first asked for.
 */

/** Gives each caller the promise of the first call. */
export function once<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => {
    made ??= make();
    return made;
  };
}
