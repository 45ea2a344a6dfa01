/**
 * @file How a prompt is cut into chunks.
 */

/**
 * Pieces [start, end) of at most `chunkLength` tokens; where a policy wants to see the prompt's last `tail` tokens by
 * themselves, they are the last piece.
 */
export function chunkSchedule(length: number, chunkLength: number, tail = 0): [start: number, end: number][] {
  const pieces: [number, number][] = [];
  const body = tail > 0 ? Math.max(0, length - tail) : length;
  for (let start = 0; start < body; start += chunkLength) pieces.push([start, Math.min(start + chunkLength, body)]);
  if (body < length) pieces.push([body, length]);
  return pieces;
}
