/**
 * @file `snapkv`: what the end of the prompt looks at.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import type { ScoredPolicyOptions } from '../options.ts';
import { definePolicy } from '../policy/define-policy.ts';
import type { GroupView } from '../policy/group-view.ts';
import type { PolicyRules, PolicySetup } from '../policy/policy.ts';
import { readSinks } from '../policy/safe-options.ts';
import { addTo } from '../policy/vectors.ts';

export interface SnapKVOptions extends ScoredPolicyOptions {
  /** W: the prompt's last tokens, whose attention counts. @default 32 (fewer where the budget is small) */
  readonly window?: number;
  /** Scores of so many neighbours are averaged; odd. @default 5 */
  readonly kernel?: number;
}

export const SNAPKV_OPTIONS = {
  window: "the prompt's last tokens, whose attention counts",
  kernel: 'scores of so many neighbours are averaged (odd)',
};

const WINDOW = 32;
const KERNEL = 5;
const SINKS = 4;

/**
 * The rules of snapkv.
 * @throws InputError where sinks and window exceed the budget, or the kernel has no middle.
 */
export function snapRules({ options, cacheLength }: PolicySetup<SnapKVOptions>): PolicyRules {
  const sinks = readSinks(options, cacheLength, SINKS);
  const window = wholeNumber('window', options.window ?? Math.min(WINDOW, cacheLength - sinks));
  if (sinks + window > cacheLength)
    throw new InputError(`${sinks} sinks and a window of ${window} are more than the cacheLength of ${cacheLength}`);
  const kernel = wholeNumber('kernel', options.kernel ?? KERNEL);
  if (kernel % 2 === 0) throw new InputError(`kernel must be odd, but is ${kernel}`);
  return {
    needs: ['window'],
    sinks: SINKS,
    reads: false,
    promptTail: window,
    recentOf: ({ phase }, recent) => (phase === 'decode' ? recent : window),
    // How many queries the scores are sums over.
    rowState: 1,
    beginChunk: ({ rowState, newTokens, phase }) => {
      const counted = Math.min(newTokens, window);
      rowState[0] = phase === 'decode' ? rowState[0] + counted : counted;
    },
    score: (group, { phase }) => {
      if (phase === 'decode') addTo(group.scores, group.weights[0], group.length);
      else poolSums(group, kernel);
      return undefined;
    },
    countedQueries: ({ phase, rowState }) => (phase === 'decode' ? rowState[0] : 1),
  };
}

/**
 * SnapKV (arXiv 2404.14469): while the prompt lasts, a slot's score is what the chunk's last W queries pay to it,
 * averaged over 5 neighbouring positions (at the edges over what is there); the window itself is safe. The schedule
 * makes the prompt's last chunk W tokens long. Afterwards scores go on as h2o's, from these as a start, each divided by
 * the queries counted that could see the slot. What differs from the paper: groups decide for themselves, sinks stay,
 * and a prompt that exceeds the budget is cut down chunk by chunk, by each chunk's own window, instead of at its end.
 */
export const snapKV = definePolicy<SnapKVOptions>({
  name: 'snapkv',
  summary: "what the prompt's end looks at, then as h2o",
  options: SNAPKV_OPTIONS,
  setup: snapRules,
});

/** scores = the means of `kernel` neighbours' sums, in the order of positions. */
function poolSums({ scores, weights: [sums], positions, length }: GroupView, kernel: number): void {
  const order = Array.from({ length }, (_, j) => j).sort((a, b) => positions[a] - positions[b]);
  const half = (kernel - 1) / 2;
  for (let i = 0; i < length; i++) {
    const from = Math.max(0, i - half);
    const to = Math.min(length, i + half + 1);
    let sum = 0;
    for (let n = from; n < to; n++) sum += sums[order[n]];
    scores[order[i]] = sum / (to - from);
  }
}
