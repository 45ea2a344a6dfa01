/**
 * @file What policies share that make all scores of a row anew from sums over everything seen: at each prompt chunk,
 * and after a number of decoded tokens. Until then new tokens are safe as recent ones.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import type { ScoredPolicyOptions } from '../options.ts';
import type { CacheShape } from '../shape.ts';
import type { PolicyRules } from './policy.ts';
import { readRecent, readSinks } from './safe-options.ts';

/** Sinks of these policies. */
export const SINKS = 4;
const REFRESH = 64;

/** @throws InputError where a key can't be turned back: its rotation depends on the length of the sequence. */
export function refuseVaryingRotation(policy: string, { layers }: CacheShape): void {
  if (layers.some(({ rotation }) => rotation === 'varies'))
    throw new InputError(
      `${policy} needs rotations that don't depend on the length of the sequence; choose another policy`,
    );
}

/**
 * Counts what was seen, `rowState[0]`, and for how many tokens the scores are old, `rowState[1]`.
 * @param usualRecent the default of `recent`, by the cacheLength.
 * @throws InputError for options out of range.
 */
export function refreshing(
  options: ScoredPolicyOptions & { readonly refresh?: number },
  cacheLength: number,
  usualRecent: (cacheLength: number) => number,
): {
  readonly rules: Required<Pick<PolicyRules, 'recent' | 'rowState' | 'refreshes' | 'beginChunk'>>;
  /** After so many tokens scores are made anew. */
  readonly refresh: number;
  /** Whether the scores are to be made anew. */
  readonly isDue: (rowState: ArrayLike<number>) => boolean;
} {
  const recent = readRecent(options, cacheLength, readSinks(options, cacheLength, SINKS), usualRecent(cacheLength));
  const refresh = Math.min(recent, wholeNumber('refresh', options.refresh ?? REFRESH));
  const isDue = (rowState: ArrayLike<number>) => rowState[1] >= refresh;
  return {
    rules: {
      recent: usualRecent,
      rowState: 2,
      refreshes: true,
      beginChunk: ({ rowState, newTokens, phase }) => {
        rowState[0] += newTokens;
        const old = isDue(rowState) ? 0 : rowState[1];
        rowState[1] = phase === 'decode' ? old + newTokens : refresh;
      },
    },
    refresh,
    isDue,
  };
}
