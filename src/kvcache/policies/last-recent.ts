/**
 * @file `lastrec`: the first few tokens and the most recent ones.
 */
import type { CacheOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';

/** Options of `lastrec`. */
export interface LastRecentOptions extends CacheOptions {
  /** Tokens at the start of the sequence that always stay (fewer where the budget is that small). @default 4 */
  readonly sinks?: number;
}

/**
 * Attention sinks and a recent window (StreamingLLM, arXiv 2309.17453), with every token at its own position. The value
 * of a token is its position. All layers and groups hold the same.
 */
export const lastRecent = definePolicy<LastRecentOptions>({
  name: 'lastrec',
  summary: 'the first tokens (sinks) and the most recent ones',
  frame: ['sinks'],
  sharing: 'by-window',
  perGroup: false,
  slotState: 0,
  sinks: 4,
  recent: () => 1,
  scoredByLater: false,
  reads: false,
  rank: ({ values, positions, length }) => {
    for (let j = 0; j < length; j++) values[j] = positions[j];
  },
});
