/**
 * @file The options of every policy that evicts: which tokens are safe from it.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';

/** Tokens at the start of a sequence that models send the attention to which has nowhere else to go. */
const SINKS = 4;

/** @throws InputError where the sinks leave no slot for the newest token. */
export function readSinks({ sinks }: { readonly sinks?: number }, cacheLength: number, usual = SINKS): number {
  const count = wholeNumber('sinks', sinks ?? Math.min(usual, cacheLength - 1), 0);
  if (count >= cacheLength)
    throw new InputError(`${count} sinks leave no slot for recent tokens in a cacheLength of ${cacheLength}`);
  return count;
}

/**
 * @throws InputError where sinks and recent tokens together are more than the budget, or the newest token is not among
 * them.
 */
export function readRecent(
  { recent }: { readonly recent?: number },
  cacheLength: number,
  sinks: number,
  usual: number,
): number {
  const count = wholeNumber('recent', recent ?? Math.max(1, Math.min(usual, cacheLength - sinks)), 1);
  if (sinks + count > cacheLength)
    throw new InputError(`${sinks} sinks and ${count} recent tokens are more than the cacheLength of ${cacheLength}`);
  return count;
}
