/**
 * @file A graph in plain TypeScript: attends by hand to what a cache really holds, and hands it the chunk as the
 * stepper would. What a cache must not look at (padding, columns of free slots) is not a number.
 */
import type { KVCache } from '../../src/kvcache/kv-cache.ts';
import { asksFor, needsBy, type Reduction } from '../../src/kvcache/policy/needs.ts';
import { addDirection, dotAt } from '../../src/kvcache/policy/vectors.ts';
import type { ChunkOutputs, ObservedQueries, ObservedWeights, ReducedWeights } from '../../src/kvcache/rows/chunk.ts';
import { EMPTY_SLOT } from '../../src/kvcache/slots/slots.ts';
import { range } from '../../src/util/numbers.ts';
import type { FakeModel } from './fake-model.ts';

export interface FakeStepOptions {
  readonly phase?: ChunkOutputs['phase'];
  readonly eachQuery?: boolean;
  /** Whether products of keys are given where the policy asks for them. @default true */
  readonly multipliesKeys?: boolean;
}

/** What attention gave [layer][row][head][t][D]. */
export type FakeOutputs = readonly (readonly (readonly (readonly Float64Array[])[])[])[];

/** Runs a chunk, one list of tokens a row. */
export function fakeStep(
  model: FakeModel,
  cache: KVCache,
  tokens: readonly (readonly number[])[],
  options: FakeStepOptions = {},
): FakeOutputs {
  cache.reserve(tokens.map((row) => row.length));
  const { outputs, chunk } = fakeChunk(model, cache, tokens, options);
  cache.append(chunk);
  return outputs;
}

/** What the graph makes of a chunk; the cache stays as it is. */
export function fakeChunk(
  model: FakeModel,
  cache: KVCache,
  tokens: readonly (readonly number[])[],
  { phase = 'decode', eachQuery = false, multipliesKeys = true }: FakeStepOptions = {},
): { outputs: FakeOutputs; chunk: ChunkOutputs } {
  cache.store.open();
  const { shape } = model;
  const B = tokens.length;
  const T = Math.max(...tokens.map((row) => row.length));
  const withSlots = range(shape.nLayer).filter((l) => shape.layers[l].slots);
  const empty = (l: number, half: 'keySize' | 'valueSize') =>
    shape.layers[l].slots
      ? new Float32Array(B * shape.layers[l].groups * T * shape.layers[l][half]).fill(Number.NaN)
      : null;
  const allKeys = range(shape.nLayer).map((l) => empty(l, 'keySize'));
  const allValues = range(shape.nLayer).map((l) => empty(l, 'valueSize'));
  const counts = (['sum', 'max'] as const)
    .map((kind) => [kind, needsBy(kind, cache.rules.needs).length] as const)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => [kind, eachQuery ? T : count] as const);
  const wantsEcho = asksFor('echo', cache.rules.needs);
  const isEchoed = wantsEcho && !eachQuery && T > 1;
  const reduced: Partial<Record<Reduction, ReducedWeights & { readonly weights: Map<string, Float32Array> }>> =
    Object.fromEntries(counts.map(([kind, sets]) => [kind, { sets, weights: new Map<string, Float32Array>() }]));
  if (wantsEcho) reduced.echo = { sets: Number(isEchoed), weights: new Map() };
  const capacities = new Map<string, number>();
  for (const table of cache.store.tables.values()) {
    const G = shape.layers[table.layers[0]].groups;
    const add = (part: string, count: number, capacity: number) => {
      capacities.set(part, capacity);
      for (const { sets, weights } of Object.values(reduced))
        weights.set(part, new Float32Array(count * B * sets * (capacity + T)).fill(Number.NaN));
    };
    for (const part of table.parts)
      add(part.name, table.ragged ? part.groups.length : table.layers.length * G, table.slotsOfPart(part));
  }
  const outputs = withSlots.map((l) => range(B).map(() => range(shape.layers[l].heads).map((): Float64Array[] => [])));

  for (const [nth, l] of withSlots.entries()) {
    const { groups: G, heads: H, keySize, valueSize, attentionScale } = shape.layers[l];
    const R = H / G;
    const name = cache.store.layerGroups[l];
    const table = cache.store.tables.get(name)!;
    const inTable = table.layers.indexOf(l);
    for (const [row, ids] of tokens.entries()) {
      const first = cache.length(row);
      const place = cache.ropePosition(row);
      const each = ids.map((_, set) => Float32Array.from(ids, (_, t) => Number(t === set)));
      const counted = {
        sum: eachQuery ? each : cache.queryWeights(ids.length),
        max: eachQuery ? each : [new Float32Array(ids.length).fill(1)],
      };
      for (let g = 0; g < G; g++) {
        const keys: Float32Array[] = [];
        const values: Float32Array[] = [];
        for (const [t, id] of ids.entries()) {
          keys.push(model.key(l, g, first + t, id, place + t));
          values.push(model.value(l, g, first + t, id));
          const at = (row * G + g) * T + t;
          allKeys[l]!.set(keys[t], at * keySize);
          allValues[l]!.set(values[t], at * valueSize);
        }
        const { part, index: line } = table.partOf(table.groups === 1 ? 0 : g);
        const capacity = capacities.get(part.name)!;
        const columns = capacity + T;
        const slots = heldSlots(cache, l, row, g);
        for (const [t] of ids.entries())
          slots.push({ position: first + t, key: keys[t], value: values[t], logTokens: 0, column: capacity + t });
        const { window } = shape.layers[l];
        const paid = new Float64Array(slots.length);
        const index = table.ragged ? row * part.groups.length + line : (inTable * B + row) * G + g;
        const targets = counts.map(([kind, sets]) => ({
          kind,
          data: reduced[kind]!.weights.get(part.name)!,
          at: (set: number) => (index * sets + set) * columns,
        }));
        for (const { kind, data, at } of targets)
          for (let set = 0; set < counted[kind].length; set++)
            for (const { column } of slots) data[at(set) + column] = 0;
        if (isEchoed && ids.length > 1 && asksFor('echo', cache.rules.needsOf(l, g)))
          echoInto(reduced.echo!.weights.get(part.name)!, index * columns, {
            ...{ slots, T: ids.length, window, scale: attentionScale },
            queries: range(R).map((r) =>
              ids.map((id, t) => model.query(l, g * R + r, first + t, id, place + t + ids.length)),
            ),
            copies: range(R).map((r) => ids.map((id, t) => model.query(l, g * R + r, first + t, id, place + t))),
          });
        for (let r = 0; r < R; r++)
          for (const [t, id] of ids.entries()) {
            const position = first + t;
            const oldest = window === null ? -1 : position - window;
            const query = model.query(l, g * R + r, position, id, place + t);
            payAttention(query, slots, position, oldest, attentionScale, paid);
            const out = new Float64Array(valueSize);
            for (let j = 0; j < slots.length; j++)
              for (let i = 0; i < valueSize; i++) out[i] += paid[j] * slots[j].value[i];
            outputs[nth][row][g * R + r].push(out);
            for (const { kind, data, at } of targets)
              for (const [set, weights] of counted[kind].entries())
                for (let j = 0; j < slots.length; j++) {
                  const to = at(set) + slots[j].column;
                  const counts = weights[t] * paid[j];
                  data[to] = kind === 'sum' ? data[to] + counts : Math.max(data[to], counts);
                }
          }
      }
    }
  }
  const observed: ObservedWeights | undefined =
    cache.rules.needs.length > 0
      ? {
          each: eachQuery,
          capacity: capacities,
          reduced,
        }
      : undefined;
  const queries = cache.rules.needsQueries ? moments(model, cache, tokens, withSlots) : undefined;
  const keyProducts = multipliesKeys ? products(model, cache, tokens) : undefined;
  const chunk = { tokens, length: T, keys: allKeys, values: allValues, phase, observed, queries, keyProducts };
  return { outputs, chunk };
}

/** A slot held, or a token of the chunk. */
interface Candidate {
  readonly position: number;
  readonly key: Float32Array;
  readonly value: Float32Array;
  /** The logarithm of how many tokens it stands for. */
  readonly logTokens: number;
  /** Where its weights go. */
  readonly column: number;
}

/** What the graph would read of one layer, row and group. */
function heldSlots(cache: KVCache, layer: number, row: number, group: number): Candidate[] {
  const table = cache.store.tableOf(layer)!;
  const inTable = table.groups === 1 ? 0 : group;
  const at = table.positions.at(row, inTable);
  const { keySize, valueSize } = cache.shape.layers[layer];
  const slots: Candidate[] = [];
  for (let slot = 0; slot < table.capacityOf(inTable); slot++) {
    if (table.positions.data[at + slot] === EMPTY_SLOT) continue;
    const key = new Float32Array(keySize);
    const value = new Float32Array(valueSize);
    cache.store.buffers[layer]!.readKey({ row, group, slot }, key);
    cache.store.buffers[layer]!.readValue({ row, group, slot }, value);
    const logTokens = table.merges[inTable] ? table.slotState[0].data[at + slot] : 0;
    slots.push({ position: table.positions.data[at + slot], key, value, logTokens, column: slot });
  }
  return slots;
}

/** paid = softmax of one query over those that it sees. */
function payAttention(
  query: Float32Array,
  slots: readonly Candidate[],
  position: number,
  oldest: number,
  scale: number,
  paid: Float64Array,
): void {
  let max = Number.NEGATIVE_INFINITY;
  for (let j = 0; j < slots.length; j++) {
    const seen = slots[j].position <= position && slots[j].position > oldest;
    paid[j] = seen ? dot(query, slots[j].key) * scale + slots[j].logTokens : Number.NEGATIVE_INFINITY;
    max = Math.max(max, paid[j]);
  }
  let sum = 0;
  for (let j = 0; j < slots.length; j++) {
    paid[j] = Math.exp(paid[j] - max);
    sum += paid[j];
  }
  for (let j = 0; j < slots.length; j++) paid[j] /= sum;
}

/** What a group's queries pay to slots and chunk if they read the chunk once more: the largest of each. */
interface Echo {
  /** The slots held, then the chunk's T tokens. */
  readonly slots: readonly Candidate[];
  readonly T: number;
  readonly window: number | null;
  readonly scale: number;
  /** [R][T], rotated T positions further. */
  readonly queries: readonly (readonly Float32Array[])[];
  /** As they are: their scores on the chunk are those of the others on its copy. */
  readonly copies: readonly (readonly Float32Array[])[];
}

function echoInto(data: Float32Array, at: number, { slots, T, window, scale, queries, copies }: Echo): void {
  const chunk = slots.slice(-T);
  for (const { column } of slots) data[at + column] = 0;
  for (const [r, ofHead] of queries.entries())
    for (const [t, query] of ofHead.entries()) {
      const reader = chunk[t].position + T;
      const seen = (position: number) => window === null || position > reader - window;
      const onSlots = slots.map(({ key, position, logTokens }) =>
        seen(position) ? dot(query, key) * scale + logTokens : -Infinity,
      );
      const onCopy = chunk.map(({ key, position }, s) =>
        s <= t && seen(position + T) ? dot(copies[r][t], key) * scale : -Infinity,
      );
      const weights = softmax([...onSlots, ...onCopy]);
      for (const [j, { column }] of slots.entries()) data[at + column] = Math.max(data[at + column], weights[j]);
    }
}

function moments(
  model: FakeModel,
  cache: KVCache,
  tokens: readonly (readonly number[])[],
  withSlots: readonly number[],
): ObservedQueries {
  const B = tokens.length;
  const sizes = (l: number) => ({ H: model.shape.layers[l].heads, D: model.shape.layers[l].keySize });
  const make = (power: number) =>
    range(model.shape.nLayer).map((l) =>
      withSlots.includes(l) ? new Float32Array(B * sizes(l).H * sizes(l).D ** power) : null,
    );
  const [sum, outer] = [make(1), make(2)];
  for (const l of withSlots) {
    const { H, D } = sizes(l);
    for (const [row, ids] of tokens.entries())
      for (let head = 0; head < H; head++)
        for (const [t, id] of ids.entries()) {
          const query = model.plainQuery(l, head, cache.length(row) + t, id);
          const at = row * H + head;
          for (let i = 0; i < D; i++) {
            sum[l]![at * D + i] += query[i];
            for (let j = 0; j < D; j++) outer[l]![(at * D + i) * D + j] += query[i] * query[j];
          }
        }
  }
  return { sum, outer: tokens.every((ids) => ids.length < 2) ? outer.map(() => null) : outer };
}

/** Each key's product with the sum of the directions of slots and chunk, by layer group: [B, G, C + T]. */
function products(
  model: FakeModel,
  cache: KVCache,
  tokens: readonly (readonly number[])[],
): Map<string, Float32Array> | undefined {
  const { keySums } = cache;
  if (!keySums) return undefined;
  const T = Math.max(...tokens.map((row) => row.length));
  const all = new Map<string, Float32Array>();
  for (const table of cache.store.tables.values()) {
    const [l] = table.layers;
    const { keySize } = model.shape.layers[l];
    const lines = (groups: readonly number[], C: number) => {
      const data = new Float32Array(tokens.length * groups.length * (C + T)).fill(Number.NaN);
      for (const [row, ids] of tokens.entries())
        for (const [i, g] of groups.entries()) {
          const numbers = cache.rows[row].keySums;
          const from = keySums.at(numbers, table, row, g);
          const place = cache.ropePosition(row);
          const keys = ids.map((id, t) => model.key(l, g, cache.length(row) + t, id, place + t));
          const sum = numbers.slice(from, from + keySize);
          for (const key of keys) addDirection(sum, 0, key, 1);
          const at = (row * groups.length + i) * (C + T);
          for (const { key, column } of heldSlots(cache, l, row, g)) data[at + column] = dotAt(key, 0, sum);
          for (const [t, key] of keys.entries()) data[at + C + t] = dotAt(key, 0, sum);
        }
      return data;
    };
    for (const part of table.parts) all.set(part.name, lines(part.groups, table.slotsOfPart(part)));
  }
  return all;
}

export function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

export function softmax(logits: readonly number[]): number[] {
  const max = Math.max(...logits);
  const powers = logits.map((x) => Math.exp(x - max));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((x) => x / sum);
}
