/**
 * @file `h2o-prompt`: those that received the most attention while chunks of several tokens were read.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { type H2OOptions, heavyHitters, NORMALIZE } from './h2o.ts';

/**
 * `h2o`, to whose scores tokens that come one by one add nothing. So these take no attention weights and no copy of the scores, and a
 * step of one token takes no longer than under `lastrec`. Such tokens have the score 0 themselves: behind the recent ones they go first.
 */
export const h2oPrompt = definePolicy<H2OOptions>({
  name: 'h2o-prompt',
  summary: 'h2o, by the attention of chunks of several tokens only',
  options: NORMALIZE,
  setup: ({ options }) => ({ ...heavyHitters(options.normalize), needs: ['chunk-sums'], scoresDecode: false }),
});
