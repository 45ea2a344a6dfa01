/**
 * @file How a prompt is cut into chunks.
 */

/**
 * Where the chunk that starts at a token ends: after at most `chunkLength` tokens. Where a policy wants the prompt's
 * last `tail` tokens by themselves, they are the last chunk.
 */
export function chunkEnd(start: number, length: number, chunkLength: number, tail = 0): number {
  const body = tail > 0 ? Math.max(0, length - tail) : length;
  return start < body ? Math.min(start + chunkLength, body) : length;
}
