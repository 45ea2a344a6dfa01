/**
 * @file A chunk that is read once more, right behind itself. Its copy is a part of the same step: it sees what the
 * chunk sees, and nothing of it is stored, as padding is not.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { StepOptions, TokenPositions } from './step-types.ts';

/** Tokens from before the chunk that its copy begins with: its first tokens would have nothing in front. */
const LEAD = 8;

/** What a step reads in place of its chunk. */
export interface Replay {
  /** Per row: the tokens, then the last ones before them, then the tokens again. A row of one token has no copy. */
  readonly tokens: readonly number[][];
  /** Per row: where the copy begins. */
  readonly from: readonly number[];
  /** For the copy, too, where the caller gave them for the chunk. */
  readonly positions: readonly TokenPositions[] | undefined;
  readonly crossAttentionMask: StepOptions['crossAttentionMask'];
}

/** Most tokens that a chunk of a cache is read as. */
export function readTokens({ replay }: Pick<KVCache, 'replay'>, tokens: number): number {
  return replay && tokens > 1 ? 2 * tokens + LEAD : tokens;
}

/** null where the chunk is read once: the cache wants no more, it may be cut later, or no row has several tokens. */
export function replayOf(cache: KVCache, chunk: readonly ArrayLike<number>[], options: StepOptions): Replay | null {
  const { eachQuery = false, positions, crossAttentionMask } = options;
  if (!cache.replay || eachQuery || chunk.every((row) => row.length < 2)) return null;
  // What the caller says of tokens is known of the chunk only.
  const lead = positions || crossAttentionMask ? 0 : LEAD;
  const rows = chunk.map((row, b) => {
    const tokens = Array.from(row);
    if (tokens.length < 2) return { tokens, from: tokens.length };
    const before = lead > 0 ? cache.rows[b].tokens.view().subarray(-lead) : [];
    return { tokens: [...tokens, ...before, ...tokens], from: tokens.length + before.length };
  });
  return {
    tokens: rows.map(({ tokens }) => tokens),
    from: rows.map(({ from }) => from),
    positions: positions?.map((row) => twice(row)),
    crossAttentionMask: crossAttentionMask?.map((row) => (row.length < 2 ? row : [...row, ...row])),
  };
}

/** Positions of a row, and those of its copy behind them. */
function twice(given: TokenPositions): TokenPositions {
  if (given.length === 0) return given;
  const lists = (typeof given[0] === 'number' ? [given] : given) as readonly ArrayLike<number>[];
  const all = lists.flatMap((list) => Array.from(list));
  const shift = Math.max(...all) + 1 - Math.min(...all);
  const both = lists.map((list) =>
    list.length < 2 ? list : [...Array.from(list), ...Array.from(list, (position) => position + shift)],
  );
  return typeof given[0] === 'number' ? both[0] : both;
}
