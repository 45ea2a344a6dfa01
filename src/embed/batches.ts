/**
 * @file Texts in batches of similar length.
 */

export const DEFAULT_BATCH = 32;
/** Tokens of a batch, padding included: attention scores of 4,096 tokens in rows of 512 take 8 MB a head. */
const MAX_BATCH_TOKENS = 4096;

/** Texts in batches, the longest first, so that there is little padding. */
export function* lengthBatches<T extends { readonly ids: readonly number[] }>(
  texts: readonly T[],
  batchSize: number,
): Generator<readonly T[]> {
  const sorted = [...texts].sort((a, b) => b.ids.length - a.ids.length);
  for (let start = 0; start < sorted.length; ) {
    const rows = Math.min(batchSize, Math.max(1, Math.floor(MAX_BATCH_TOKENS / sorted[start].ids.length)));
    yield sorted.slice(start, start + rows);
    start += rows;
  }
}
