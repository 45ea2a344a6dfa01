/**
 * @file A step's rarer inputs: recurrent states, attached states and who sees them, positions that the caller gives.
 */

import { type StepOutputs, type StepTensor, tensorOf } from '../backends/types.ts';
import { type Config, positionStreams } from '../config/config.ts';
import type { ChunkStates } from '../kvcache/chunk.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { HIDDEN } from '../kvcache/slots.ts';
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import type { StepOptions, TokenPositions } from './step-types.ts';

type Chunk = readonly ArrayLike<number>[];
type Inputs = Record<string, StepTensor>;

/**
 * Recurrent states.
 * @param each they are wanted after each token, so that the chunk can be cut later.
 * @returns per row: after how many tokens they are wanted; null where the model has none.
 */
export function bindStates(
  { store: { states }, batch }: KVCache,
  chunk: Chunk,
  each: boolean,
  inputs: Inputs,
): number[][] | null {
  if (states.isEmpty) return null;
  const longest = Math.max(...chunk.map((row) => row.length));
  const times = chunk.map((row) => (each ? range(longest).map((t) => Math.min(t + 1, row.length)) : [row.length]));
  for (const { name, data, dims } of states.inputs()) inputs[`state.${name}`] = tensorOf(data, dims);
  inputs.stateTimes = tensorOf(BigInt64Array.from(times.flat(), BigInt), [batch, times[0].length]);
  return times;
}

/** What the graph made of them. */
export function statesOf({ store: { states } }: KVCache, times: number[][], outputs: StepOutputs): ChunkStates {
  const names = states.inputs().map(({ name }) => name);
  return { times, values: new Map(names.map((name) => [name, outputs[`next.${name}`].data])) };
}

/**
 * Attached keys and values, and which of them each token sees.
 * @throws InputError for `sees` of other lengths than tokens and states.
 */
export function bindAttached(
  { cross, name }: Config,
  { store: { crossAttention: attached }, batch }: KVCache,
  chunk: Chunk,
  length: number,
  sees: StepOptions['sees'],
  inputs: Inputs,
): void {
  if (sees && !cross) throw new InputError(`${name} models attend to nothing but their own tokens: leave "sees" out`);
  if (!cross || !attached.any) return;
  const S = attached.capacity;
  const Tc = sees ? length : 1;
  const bias = new Float32Array(batch * Tc * S).fill(HIDDEN);
  const attention = new Float32Array(batch * Tc);
  const mlp = new Float32Array(batch * Tc);
  for (let b = 0; b < batch; b++) {
    const count = attached.length(b);
    if (sees) checkSees(sees, chunk, b, count);
    for (let t = 0; t < Tc; t++) {
      const at = b * Tc + t;
      const row = sees?.[b][t];
      const seen = range(count).map((s) => !sees || Boolean(row?.[s]));
      const any = seen.includes(true);
      attention[at] = Number(cross.blind === 'attention' ? any : count > 0);
      mlp[at] = Number(any);
      // A token that sees nothing attends to all, as no operator likes an empty row; what comes of it is dropped where it has to be.
      seen.forEach((visible, s) => {
        if (visible || !any) bias[at * S + s] = 0;
      });
    }
  }
  for (const { name: input, data, dims } of attached.inputs()) inputs[`cross.${input}`] = tensorOf(data, dims);
  inputs['cross.bias'] = tensorOf(bias, [batch, Tc, S]);
  inputs['cross.attention'] = tensorOf(attention, [batch, Tc, 1]);
  if (cross.blind === 'mlp') inputs['cross.mlp'] = tensorOf(mlp, [batch, Tc, 1]);
}

function checkSees(sees: NonNullable<StepOptions['sees']>, chunk: Chunk, row: number, count: number): void {
  const tokens = sees[row]?.length ?? 0;
  if (tokens !== chunk[row].length)
    throw new InputError(`"sees" speaks of ${tokens} tokens of row ${row}, but there are ${chunk[row].length}`);
  for (const token of sees[row])
    if (token.length !== count)
      throw new InputError(`"sees" speaks of ${token.length} states, but row ${row} has ${count} attached`);
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
      const places = Array.from(list);
      if (places.length !== lengths[b])
        throw new InputError(`row ${b} is ${lengths[b]} long, but has ${places.length} positions`);
      const wrong = places.find((place) => !Number.isSafeInteger(place) || place < 0);
      if (wrong !== undefined)
        throw new InputError(`position ${wrong} of row ${b} is not a whole number of at least 0`);
      return places;
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
export function givenPlaces(
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
