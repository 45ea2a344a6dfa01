/**
 * @file Going back: which earlier states of a row are still known, and how they are restored.
 */
import { InputError } from '../../util/errors.ts';
import { range, wholeNumber } from '../../util/numbers.ts';
import type { Policy } from '../policy/policy.ts';
import type { SlotStore } from '../slots/slot-store.ts';
import type { ChunkOutputs } from './chunk.ts';
import type { Row } from './row.ts';

interface Truncated {
  /** The policy's name. */
  readonly policy: string;
  readonly rules: Policy;
  readonly store: SlotStore;
  readonly rows: readonly Row[];
}

/**
 * Goes back to the first `length` tokens of a row; pending tokens are dropped.
 * @returns the part of the last chunk that is to be taken in once more; null: none.
 * @throws InputError where that state is not known any more.
 */
export function truncateRow(cache: Truncated, row: number, length: number): ChunkOutputs | null {
  wholeNumber('length', length, 0);
  const { store } = cache;
  const state = cache.rows[row];
  const { tokens, chunkStart, last } = state;
  if (length > tokens.length)
    throw new InputError(`the row has seen ${tokens.length} tokens, and can't be cut to ${length}`);
  let part: ChunkOutputs | null = null;
  if (length < tokens.length && length > chunkStart && last?.isPlaced && last.leavesRest) {
    store.dropFrom(row, length);
    state.shorten(length);
  } else if (length < tokens.length && length >= chunkStart && last) {
    if (length > chunkStart) part = partOf(cache, last, row, length - chunkStart);
    store.revert(row);
    store.states.revert(row);
    state.revert();
  } else if (length < tokens.length) {
    refuse(cache, row, length);
    store.dropFrom(row, length);
    state.truncate(length);
  }
  state.pending = [];
  return part;
}

/** @throws InputError where a row has pending tokens that its next chunk does not begin with. */
export function checkPending(pending: readonly number[], tokens: ArrayLike<number>, row: number): void {
  if (pending.length === 0 || pending.every((id, i) => tokens[i] === id)) return;
  throw new InputError(
    `row ${row} has pending tokens (${pending.join(', ')}) that were chosen and not computed yet: its next chunk must begin with ` +
      'them; truncate the row to its length to drop them',
  );
}

/** The first `count` tokens of a row's last chunk, to be taken in once more. */
function partOf({ policy, rules, store }: Truncated, chunk: ChunkOutputs, row: number, count: number): ChunkOutputs {
  if ((rules.needs.length > 0 && !chunk.observed?.each) || rules.needsQueries)
    throw new InputError(
      `the policy ${policy} has seen the last chunk's queries together, so only the whole chunk can be taken back`,
    );
  store.states.check(row, chunk, count);
  const tokens = chunk.tokens.map((ids, r) => (r === row ? range(count).map((i) => ids[i]) : []));
  return { ...chunk, tokens };
}

/** @throws InputError where a row can't go further back than its last chunk. */
function refuse({ policy, rules, store, rows }: Truncated, row: number, length: number): void {
  const { tokens, ropePosition } = rows[row];
  const no = (why: string): never => {
    throw new InputError(
      `row ${row} can't go back to ${length} of ${tokens.length} tokens: ${why}; fork the cache before, or start anew`,
    );
  };
  if (rules.scoredByLater) no(`the policy ${policy} has scored what it holds by later tokens`);
  if (!store.states.isEmpty) no('the model has recurrent states, which remember only the last chunk');
  if (ropePosition !== tokens.length) no('its tokens were moved');
  for (const table of store.tables.values())
    for (let g = 0; g < table.groups; g++) {
      const index = table.groupIndex(row, g);
      if (table.evicted[index] > 0) no('tokens before it were evicted');
      const oldest = table.window === null ? 0 : Math.max(0, length + 1 - table.window);
      const at = table.positions.at(row, g);
      let seen = 0;
      for (let slot = 0; slot < table.filled[index]; slot++) {
        const position = table.positions.data[at + slot];
        if (position >= oldest && position < length) seen++;
      }
      if (seen < length - oldest) no('a sliding window has moved on');
    }
}
