/**
 * @file `dense`: keeps every token, and says so when it is full.
 */
import { definePolicy } from '../policy/define-policy.ts';

/**
 * The cache that never forgets. Layers with a sliding window hold no more than the window, which no later query can see
 * beyond.
 */
export const dense = definePolicy({
  name: 'dense',
  summary: 'keeps every token; full is an error',
  frame: [],
  evicts: false,
  sharing: 'by-window',
  perGroup: false,
  slotState: 0,
});
