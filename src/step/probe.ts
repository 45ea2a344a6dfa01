/**
 * @file Attention weights of single queries and heads, moments of all queries, and the residual stream: what calibration
 * measures.
 */
import { type StepOutputs, type StepTensor, tensorOf } from '../backends/types.ts';
import { type Config, headsPerGroup } from '../config/config.ts';
import { slotSpec } from '../config/layer-spec.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { asksFor } from '../kvcache/policy/needs.ts';
import { chunkColumn } from '../kvcache/policy/view.ts';
import { INPUT, OUTPUT } from '../ops/step-names.ts';
import { InputError } from '../util/errors.ts';

/** Which of a chunk's queries are looked at. */
export interface ProbeOptions {
  /** Indices of the chunk's tokens. */
  readonly queries: readonly number[];
}

/** What a layer shows of a chunk. */
export interface LayerProbe {
  /** The column of the chunk's first token: behind all slots, or behind those in use. */
  readonly chunkColumn: number;
  /** Attention weights on slots and chunk [G, R, queries, columns]. */
  readonly weights: Float32Array;
  /** Mean square of the residual stream after the layer, over the chunk's tokens. */
  readonly residual: number;
  /** The chunk's keys [G, T, keySize] and values [G, T, valueSize]; null: values are a part of the keys. */
  readonly keys: Float32Array;
  readonly values: Float32Array | null;
  /**
   * Σ q·qᵀ of each head's queries, as they attend to keys that are stored rotated [H, keySize, keySize]; null: of latent
   * attention, or of one token.
   */
  readonly queryProducts: Float32Array | null;
}

/** Declares which (head, query) pairs are summed: each pair by itself. */
export function bindProbe(
  config: Config,
  { rules, batch }: KVCache,
  length: number,
  { queries }: ProbeOptions,
  inputs: Record<string, StepTensor>,
): void {
  if (batch !== 1 || asksFor('sum', rules.needs) || rules.layout.sharing !== 'none')
    throw new InputError('a probe takes one row, without sums and shared slots');
  inputs['momentWeights'] = tensorOf(new Float32Array(length).fill(1), [1, length]);
  for (const R of headsPerGroup(config)) {
    const sets = R * queries.length;
    const data = new Float32Array(sets * R * length);
    for (let r = 0; r < R; r++)
      for (const [i, t] of queries.entries()) data[((r * queries.length + i) * R + r) * length + t] = 1;
    inputs[INPUT.queryWeights(R)] = tensorOf(data, [1, sets, R * length]);
  }
}

/** By layer; null where it has no slots. */
export function probesOf(
  { layers }: Config,
  cache: KVCache,
  length: number,
  outputs: StepOutputs,
): (LayerProbe | null)[] {
  return layers.map(({ mixer }, l) => {
    if (!slotSpec(mixer)) return null;
    const stream = outputs[OUTPUT.residual(l)].data;
    let squares = 0;
    for (let i = 0; i < stream.length; i++) squares += stream[i] * stream[i];
    const table = cache.store.tableOf(l)!;
    const sum = outputs[OUTPUT.reduced('sum', `${l}`)];
    return {
      chunkColumn: chunkColumn(sum.dims.at(-1)!, { slots: table.capacity, held: table.filled[0], length }),
      weights: sum.data,
      residual: squares / stream.length,
      keys: outputs[OUTPUT.keys(l)].data,
      values: outputs[OUTPUT.values(l)]?.data ?? null,
      queryProducts: length > 1 ? (outputs[OUTPUT.moments('outer', l)]?.data ?? null) : null,
    };
  });
}
