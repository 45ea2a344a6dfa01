/**
 * @file Ends the work behind an iterator that was dropped: kept by nothing, and neither read to its end nor closed.
 */

let registry: FinalizationRegistry<() => void> | undefined;

/**
 * @param leave called once the iterator is collected; must not refer to it. It may be called after the end, too.
 * @returns the iterator.
 */
export function leaveWhenDropped<T extends object>(iterator: T, leave: () => void): T {
  registry ??= new FinalizationRegistry((run) => run());
  registry.register(iterator, leave);
  return iterator;
}
