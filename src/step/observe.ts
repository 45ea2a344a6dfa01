/**
 * @file What a cache's policy wants to see of a step: attention weights summed over queries, and moments of the queries.
 */

import { type StepOutputs, type StepTensor, tensorOf } from '../backends/types.ts';
import type { Config } from '../config/config.ts';
import { slotSpec } from '../config/layer-spec.ts';
import { type ChunkOutputs, type ObservedWeights, partOf } from '../kvcache/chunk.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { range } from '../util/numbers.ts';

/**
 * Says which queries count for what.
 * @param length of the longest row.
 * @param each every query gets a sum of its own, so that the chunk can be cut later.
 * @returns the number of sums; 0 where nothing is observed.
 */
export function bindObserved(
  config: Config,
  cache: KVCache,
  chunk: readonly ArrayLike<number>[],
  length: number,
  each: boolean,
  inputs: Record<string, StepTensor>,
): number {
  if (cache.rules.needsQueries) {
    // Every token counts once, padding not at all.
    const data = new Float32Array(chunk.length * length);
    for (const [b, tokens] of chunk.entries()) data.fill(1, b * length, b * length + tokens.length);
    inputs.momentWeights = tensorOf(data, [chunk.length, length]);
  }
  if (cache.rules.needs.length === 0) return 0;
  const sets = each ? length : cache.rules.needs.length;
  const rows = chunk.map((tokens) => (each ? null : cache.queryWeights(tokens.length)));
  for (const R of headsPerGroup(config)) {
    const data = new Float32Array(cache.batch * sets * R * length);
    for (const [b, tokens] of chunk.entries())
      for (let set = 0; set < sets; set++)
        for (let r = 0; r < R; r++)
          for (let t = 0; t < tokens.length; t++)
            data[((b * sets + set) * R + r) * length + t] = rows[b]?.[set][t] ?? Number(t === set);
    inputs[`queryWeights.${R}`] = tensorOf(data, [cache.batch, sets, R * length]);
  }
  return sets;
}

/** The sums that the graph made. @param sets how many; what {@link bindObserved} gave. */
export function observedOf(
  cache: KVCache,
  sets: number,
  each: boolean,
  outputs: StepOutputs,
): ObservedWeights | undefined {
  if (sets === 0) return undefined;
  const parts = [...cache.store.tables].flatMap(([name, table]) =>
    table.ragged
      ? range(table.groups).map((g) => [partOf(name, g), table.capacityOf(g)] as const)
      : [[name, table.capacity] as const],
  );
  return {
    sets,
    each,
    capacity: new Map(parts),
    weights: new Map(parts.map(([name]) => [name, outputs[`sums.${name}`].data])),
  };
}

/** The moments of the queries, by layer: [B, H, D] and [B, H, D, D]; null where a layer has no slots. */
export function queriesOf({ layers }: Config, cache: KVCache, outputs: StepOutputs): ChunkOutputs['queries'] {
  if (!cache.rules.needsQueries) return undefined;
  const all = (kind: 'sum' | 'outer') => layers.map((_, l) => outputs[`moments.${kind}.${l}`]?.data ?? null);
  return { sum: all('sum'), outer: all('outer') };
}

/** The chunk's keys and values, by layer; null where a layer has none. */
export function chunkSlots({ layers }: Config, outputs: StepOutputs): Pick<ChunkOutputs, 'keys' | 'values'> {
  const all = (kind: 'keys' | 'values') => layers.map((_, l) => outputs[`${kind}.${l}`]?.data ?? null);
  return { keys: all('keys'), values: all('values') };
}

/** R of all layers with slots. */
function headsPerGroup({ layers }: Config): ReadonlySet<number> {
  return new Set(
    layers.flatMap(({ mixer }) => {
      const spec = slotSpec(mixer);
      return spec ? [spec.heads / spec.groups] : [];
    }),
  );
}
