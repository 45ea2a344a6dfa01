/**
 * @file Inputs that few models have: recurrent states, cross-attention states and their mask, positions that the caller
 * gives.
 */
import { type StepOutputs, type StepTensor, tensorOf } from '../backends/types.ts';
import { type Config, positionStreams } from '../config/config.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { ChunkStates } from '../kvcache/rows/chunk.ts';
import { HIDDEN } from '../kvcache/slots/slots.ts';
import { crossSpec } from '../model/mixers/cross-attention.ts';
import { INPUT, OUTPUT } from '../ops/step-names.ts';
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import type { StepOptions, TokenPositions } from './step-types.ts';

type Chunk = readonly ArrayLike<number>[];
type Inputs = Record<string, StepTensor>;

/**
 * Recurrent states.
 * @param each they are wanted after each token, so that the chunk can be cut later.
 * @param read what the graph reads: behind a row's chunk there may be more. Tokens behind the last state change
 * nothing, so that the copy of a chunk wants a state, too.
 * @returns per row: after how many tokens they are wanted; null where the model has none.
 */
export function bindStates(
  { store: { states }, batch }: KVCache,
  chunk: Chunk,
  each: boolean,
  read: Chunk,
  inputs: Inputs,
): number[][] | null {
  if (states.isEmpty) return null;
  const longest = Math.max(...chunk.map((row) => row.length));
  const timesOf = (row: ArrayLike<number>, b: number): number[] => {
    if (each) return range(longest).map((t) => Math.min(t + 1, row.length));
    return read === chunk ? [row.length] : [row.length, read[b].length];
  };
  const times = chunk.map(timesOf);
  for (const { name, data, dims } of states.inputs()) inputs[INPUT.state(name)] = tensorOf(data, dims);
  inputs.stateTimes = tensorOf(BigInt64Array.from(times.flat(), BigInt), [batch, times[0].length]);
  return times;
}

/** The states after the chunk. */
export function statesOf({ store: { states } }: KVCache, times: number[][], outputs: StepOutputs): ChunkStates {
  const names = states.inputs().map(({ name }) => name);
  return { times, values: new Map(names.map((name) => [name, outputs[OUTPUT.next(name)].data])) };
}

/** The chunk that attends to given states. */
interface CrossChunk {
  readonly tokens: Chunk;
  /** Of the longest row. */
  readonly length: number;
  readonly mask: StepOptions['crossAttentionMask'];
}

/**
 * Keys and values of cross-attention states, and which of them each token attends to.
 * @throws InputError for a mask whose lengths are not those of tokens and states.
 */
export function bindCrossAttention(
  config: Config,
  { store: { crossAttention: states }, batch }: KVCache,
  { tokens, length, mask }: CrossChunk,
  inputs: Inputs,
): void {
  const cross = crossSpec(config);
  if (mask && !cross)
    throw new InputError(`${config.name} models have no cross-attention layers: leave "crossAttentionMask" out`);
  if (!cross || !states.any) return;
  const S = states.capacity;
  const Tc = mask ? length : 1;
  const bias = new Float32Array(batch * Tc * S).fill(HIDDEN);
  const attention = new Float32Array(batch * Tc);
  const mlp = new Float32Array(batch * Tc);
  for (let b = 0; b < batch; b++) {
    const count = states.length(b);
    if (mask) checkMask(mask, tokens, b, count);
    for (let t = 0; t < Tc; t++) {
      const at = b * Tc + t;
      const row = mask?.[b][t];
      const seen = range(count).map((s) => !mask || Boolean(row?.[s]));
      const any = seen.includes(true);
      attention[at] = Number(cross.blind === 'attention' ? any : count > 0);
      mlp[at] = Number(any);
      // A token that may attend to no state attends to all: a softmax over nothing is NaN. Its result is dropped where
      // it has to be.
      seen.forEach((visible, s) => {
        if (visible || !any) bias[at * S + s] = 0;
      });
    }
  }
  for (const { name: input, data, dims } of states.inputs()) inputs[INPUT.cross(input)] = tensorOf(data, dims);
  inputs[INPUT.cross('bias')] = tensorOf(bias, [batch, Tc, S]);
  inputs[INPUT.cross('attention')] = tensorOf(attention, [batch, Tc, 1]);
  if (cross.blind === 'mlp') inputs[INPUT.cross('mlp')] = tensorOf(mlp, [batch, Tc, 1]);
}

function checkMask(
  mask: NonNullable<StepOptions['crossAttentionMask']>,
  chunk: Chunk,
  row: number,
  count: number,
): void {
  const tokens = mask[row]?.length ?? 0;
  if (tokens !== chunk[row].length)
    throw new InputError(`crossAttentionMask has ${tokens} tokens in row ${row}, but the row has ${chunk[row].length}`);
  for (const token of mask[row])
    if (token.length !== count)
      throw new InputError(`crossAttentionMask has ${token.length} states, but ${count} are set for row ${row}`);
}

/**
 * Lists of positions, a list for each stream.
 * @throws InputError for other counts than the rows and streams have, and for what is no position.
 */
export function readPositions(
  given: readonly TokenPositions[],
  lengths: readonly number[],
  streams: number,
): number[][][] {
  if (given.length !== lengths.length)
    throw new InputError(`there are positions of ${given.length} rows, but ${lengths.length} rows`);
  return given.map((row, b) => {
    const lists = isStreams(row) ? row : range(streams).map(() => row);
    if (lists.length !== streams)
      throw new InputError(`row ${b} has ${lists.length} lists of positions, but the model has ${streams} streams`);
    return lists.map((list) => {
      const positions = Array.from(list);
      if (positions.length !== lengths[b])
        throw new InputError(`row ${b} is ${lengths[b]} long, but has ${positions.length} positions`);
      const wrong = positions.find((position) => !Number.isSafeInteger(position) || position < 0);
      if (wrong !== undefined)
        throw new InputError(`position ${wrong} of row ${b} is not a whole number of at least 0`);
      return positions;
    });
  });
}

function isStreams(given: TokenPositions): given is readonly ArrayLike<number>[] {
  return given.length > 0 && typeof given[0] !== 'number';
}

/**
 * Positions that the caller gives: per row and token, one of each stream. null where there are none.
 * @throws InputError for a model without streams, or lists of other lengths than the chunk's rows.
 */
export function givenPositions(
  { ropes, name }: Config,
  chunk: Chunk,
  positions: StepOptions['positions'],
): number[][][] | null {
  if (!positions) return null;
  const streams = Math.max(0, ...ropes.map(positionStreams));
  if (streams < 2)
    throw new InputError(
      `the tokens of ${name} models have one position each, which the cache knows: leave "positions" out`,
    );
  const lengths = chunk.map((row) => row.length);
  return readPositions(positions, lengths, streams).map((lists, row) =>
    range(lengths[row]).map((t) => lists.map((list) => list[t])),
  );
}
