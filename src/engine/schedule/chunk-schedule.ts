/**
 * @file How a prompt is cut into chunks.
 */

/** Most bytes of the logits of a chunk whose tokens are all scored, down to {@link SHORTEST_SCORED} tokens. */
const LOGIT_BYTES = 2 ** 24;
/**
 * Tokens of a chunk that is scored, at least; longer ones have multiples of it. Shorter ones take more time for each
 * token (a third more in chunks of 32), and with them an engine may multiply in another way, which rounds otherwise.
 */
const SHORTEST_SCORED = 64;

/** Most tokens of a chunk whose logits are all wanted: there is a row of the vocabulary for each of them. */
export function scoredAtOnce(vocabSize: number): number {
  const rows = LOGIT_BYTES / (4 * vocabSize);
  return Math.max(1, Math.floor(rows / SHORTEST_SCORED)) * SHORTEST_SCORED;
}

/**
 * Where the chunk that starts at a token ends: after at most `chunkLength` tokens. Where a policy wants the prompt's
 * last `tail` tokens by themselves, they are the last chunk.
 */
export function chunkEnd(start: number, length: number, chunkLength: number, tail = 0): number {
  const body = tail > 0 ? Math.max(0, length - tail) : length;
  return start < body ? Math.min(start + chunkLength, body) : length;
}
