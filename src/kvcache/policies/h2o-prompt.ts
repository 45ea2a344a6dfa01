/**
 * @file `h2o-prompt`: those that received the most attention while chunks of several tokens were read.
 */
import { definePolicy } from '../policy/define-policy.ts';
import { type H2OOptions, heavyHitters, NORMALIZE } from './h2o.ts';

/**
 * `h2o`, to whose scores tokens that come one by one add nothing: no attention weights and no copy of the scores are
 * needed for them. Such tokens have the score 0 themselves, so they go first when they are no longer recent.
 */
export const h2oPrompt = definePolicy<H2OOptions>({
  name: 'h2o-prompt',
  summary: 'h2o, by the attention of chunks of several tokens only',
  options: NORMALIZE,
  setup: ({ options }) => ({ ...heavyHitters(options.normalize), needs: ['chunk-sums'], scoresDecode: false }),
});
