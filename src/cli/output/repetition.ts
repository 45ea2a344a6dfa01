/**
 * @file Finds a text that repeats itself without end, as small models do when they always take the likeliest token.
 */

/** Tokens that must repeat, and how many times the passage must occur. */
const LEAST_TOKENS = 96;
const LEAST_TIMES = 8;
const LONGEST_PASSAGE = 48;

/** Whether the tokens end in a passage that occurs at least eight times in a row, over at least 96 tokens. */
export function repeatsItself(tokens: readonly number[]): boolean {
  for (let period = 1; period <= LONGEST_PASSAGE; period++) {
    const needed = Math.max(LEAST_TOKENS, period * LEAST_TIMES);
    if (tokens.length < needed) return false;
    let matching = period;
    while (matching < needed && tokens[tokens.length - 1 - matching] === tokens[tokens.length - 1 - matching + period])
      matching++;
    if (matching === needed) return true;
  }
  return false;
}
