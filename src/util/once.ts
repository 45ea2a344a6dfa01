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

/** Gives each caller the value of the first call. What `make` holds is free after it. */
export function lazy<T>(make: () => T): () => T {
  let pending: (() => T) | null = make;
  let made: T;
  return () => {
    if (pending) made = pending();
    pending = null;
    return made;
  };
}
