/**
 * @file What a cache's policy wants to see of a step: attention weights reduced over queries, and moments of the
 * queries.
 */
import { type StepOutputs, type StepTensor, tensorOf } from '../backends/types.ts';
import { type Config, headsPerGroup } from '../config/config.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { isOfChunks, needsBy, type Reduction } from '../kvcache/policy/needs.ts';
import type { ChunkOutputs, ObservedWeights } from '../kvcache/rows/chunk.ts';
import { INPUT, OUTPUT } from '../ops/step-names.ts';
import type { Replay } from './replay.ts';

/** How many sets of weights a step is asked for, by how they are reduced. */
export type ObservedSets = Readonly<Partial<Record<Reduction, number>>>;

/** The chunk whose queries are observed. */
export interface ObservedChunk {
  readonly tokens: readonly ArrayLike<number>[];
  /** Of the longest row. */
  readonly length: number;
  /** Whether every query gets a set of its own, so that the chunk can be cut later. */
  readonly each: boolean;
  /** null: the chunk is read once. */
  readonly replay: Replay | null;
}

/** Says which queries count for what. */
export function bindObserved(
  config: Config,
  cache: KVCache,
  chunk: ObservedChunk,
  inputs: Record<string, StepTensor>,
): ObservedSets {
  const { tokens: all, length, each, replay } = chunk;
  if (cache.rules.needsQueries) {
    // Every token counts once, padding not at all.
    const data = new Float32Array(all.length * length);
    for (const [b, tokens] of all.entries()) data.fill(1, b * length, b * length + tokens.length);
    inputs.momentWeights = tensorOf(data, [all.length, length]);
  }
  const sets: Partial<Record<Reduction, number>> = {};
  const { needs } = cache.rules;
  const sums = needsBy('sum', needs);
  if (sums.length > 0) {
    const areUnread = (each || length < 2) && sums.every(isOfChunks);
    sets.sum = areUnread ? 0 : each ? length : sums.length;
    bindWeights(config, cache, chunk, sets.sum, inputs);
  }
  if (needs.includes('max')) sets.max = each ? length : 1;
  if (replay) sets.echo = 1;
  const ofChunk = sets.max ?? 0;
  const maxima = ofChunk + (sets.echo ?? 0);
  if (maxima > 0) {
    // Sets of single queries are told apart by the graph, which keeps those of padding to themselves.
    const data = new Float32Array(all.length * maxima * length);
    for (const [b, tokens] of all.entries()) {
      const from = b * maxima * length;
      if (ofChunk > 0) for (let t = 0; t < tokens.length; t++) data[from + (each ? t * length : 0) + t] = 1;
      if (replay)
        data.fill(1, from + ofChunk * length + replay.from[b], from + ofChunk * length + replay.tokens[b].length);
    }
    inputs.queryMask = tensorOf(data, [all.length, maxima, length]);
  }
  return sets;
}

/** How much each query counts in each sum. */
function bindWeights(
  config: Config,
  cache: KVCache,
  { tokens: all, length, each }: ObservedChunk,
  sets: number,
  inputs: Record<string, StepTensor>,
): void {
  const rows = all.map((tokens) => (each ? null : cache.queryWeights(tokens.length)));
  for (const R of headsPerGroup(config)) {
    const data = new Float32Array(cache.batch * sets * R * length);
    for (const [b, tokens] of all.entries())
      for (let set = 0; set < sets; set++)
        for (let r = 0; r < R; r++)
          for (let t = 0; t < tokens.length; t++)
            data[((b * sets + set) * R + r) * length + t] = rows[b]?.[set][t] ?? Number(t === set);
    inputs[INPUT.queryWeights(R)] = tensorOf(data, [cache.batch, sets, R * length]);
  }
}

/** The weights that the graph gave. @param sets what {@link bindObserved} gave. */
export function observedOf(
  cache: KVCache,
  sets: ObservedSets,
  each: boolean,
  outputs: StepOutputs,
): ObservedWeights | undefined {
  const reductions = Object.entries(sets) as [Reduction, number][];
  if (reductions.length === 0) return undefined;
  const capacity = new Map(
    [...cache.store.tables.values()].flatMap((table) =>
      table.parts.map((part) => [part.name, table.slotsOfPart(part)] as const),
    ),
  );
  const weightsOf = (reduction: Reduction) => {
    const weights = new Map<string, Float32Array>();
    for (const [name] of capacity) {
      // Weights are given of the parts that want them.
      const output = outputs[OUTPUT.reduced(reduction, name)];
      if (!output) continue;
      weights.set(name, output.data);
    }
    return weights;
  };
  return {
    each,
    capacity,
    reduced: Object.fromEntries(
      reductions.map(([reduction, count]) => [reduction, { sets: count, weights: weightsOf(reduction) }]),
    ),
  };
}

/**
 * The moments of the queries, by layer: [B, H, D] and [B, H, D, D]; null where a layer has no slots. @param length T
 */
export function queriesOf(
  { layers }: Config,
  cache: KVCache,
  length: number,
  outputs: StepOutputs,
): ChunkOutputs['queries'] {
  if (!cache.rules.needsQueries) return undefined;
  const all = (kind: 'sum' | 'outer') => layers.map((_, l) => outputs[OUTPUT.moments(kind, l)]?.data ?? null);
  return { sum: all('sum'), outer: length === 1 ? layers.map(() => null) : all('outer') };
}

/** Names of outputs by layer: made once, as a new string is looked up five times as slowly. */
const SLOT_OUTPUTS: Readonly<Record<'keys' | 'values', string[]>> = { keys: [], values: [] };

/** The chunk's keys and values, by layer; null where a layer has none. */
export function chunkSlots({ layers }: Config, outputs: StepOutputs): Pick<ChunkOutputs, 'keys' | 'values'> {
  const all = (kind: 'keys' | 'values') => {
    const names = SLOT_OUTPUTS[kind];
    while (names.length < layers.length) names.push(OUTPUT[kind](names.length));
    return layers.map((_, l) => outputs[names[l]]?.data ?? null);
  };
  return { keys: all('keys'), values: all('values') };
}

/** The chunks that can still be taken back. */
export function lastChunks({ rows }: KVCache): ReadonlySet<ChunkOutputs> {
  return new Set(rows.flatMap(({ last }) => last ?? []));
}

/** Keys, values and weights of the chunks of `before` that are not those of `now`: nothing reads them any more. */
export function retiredArrays(before: ReadonlySet<ChunkOutputs>, now: ReadonlySet<ChunkOutputs>): Float32Array[] {
  // A part of a chunk has the arrays of the whole.
  const kept = new Set([...now].flatMap(arraysOf));
  return [...before].flatMap(arraysOf).filter((array) => !kept.has(array));
}

function arraysOf({ keys, values, observed, keyProducts }: ChunkOutputs): Float32Array[] {
  const weights = Object.values(observed?.reduced ?? {}).flatMap(({ weights }) => [...weights.values()]);
  const products = keyProducts?.values() ?? [];
  return [...[...keys, ...values].filter((array) => array !== null), ...weights, ...products];
}
