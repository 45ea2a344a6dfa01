/**
 * @file What a cache holds, for people and tests.
 */
import { range } from '../util/numbers.ts';
import type { Row } from './rows/row.ts';
import type { SlotStore } from './slots/slot-store.ts';
import type { SlotTable } from './slots/slots.ts';

/** What a cache holds, in numbers. */
export interface CacheStats {
  /** Name of the policy. */
  readonly policy: string;
  /** The budget: slots per layer, row and query group. */
  readonly cacheLength: number;
  /** Tokens seen, per row. */
  readonly seen: readonly number[];
  /** Per row: slots held, as a mean over layers and groups. */
  readonly held: readonly number[];
  /**
   * Per row: tokens given up, as a mean over layers and groups. Tokens that a layer's sliding window hides from all
   * that comes are not lost, and not counted.
   */
  readonly evicted: readonly number[];
  /** All of its memory, as {@link CacheMemory.total}: bookkeeping and states count as well as keys and values. */
  readonly bytes: number;
}

/** The memory of a cache, by what it is for. */
export interface CacheMemory {
  /**
   * Bytes of the slots that there are, for keys and values. What is reserved for more, and not used yet, does not
   * count.
   */
  readonly keysAndValues: number;
  /** Bytes of positions and scores, of spare slots, and of what it takes to take the last chunk back. */
  readonly bookkeeping: number;
  /** Bytes of recurrent states, and of encoder states that are attended to. */
  readonly states: number;
  /** The sum of these three. The option `cacheBytes` limits it. */
  readonly total: number;
  /** Most that `keysAndValues` can come to: what the policy's budget of slots takes. */
  readonly keysAndValuesLimit: number;
}

/** What a row's layer groups hold. */
export interface CacheContents {
  /** Tokens of the row, those evicted included. */
  readonly length: number;
  /** Groups of layers that hold the same positions. */
  readonly layerGroups: readonly {
    /** Indices of the layers. */
    readonly layers: readonly number[];
    /** Per query group; a single one where all groups hold the same. */
    readonly groups: readonly {
      /** Positions of the tokens that are held, ascending. */
      readonly positions: readonly number[];
      /** The policy's scores of the same tokens; null where it has none. */
      readonly scores: readonly number[] | null;
    }[];
  }[];
}

/** The slots in use of a layer, row and group, by position. */
export function slotsInOrder(
  store: SlotStore,
  layer: number,
  row: number,
  group: number,
): { slot: number; position: number }[] {
  const table = store.tableOf(layer);
  return table ? inOrder(table, row, group) : [];
}

function inOrder(table: SlotTable, row: number, group: number): { slot: number; position: number }[] {
  const g = table.groups === 1 ? 0 : group;
  const at = table.positions.at(row, g);
  const slots = range(table.filled[table.groupIndex(row, g)]).map((slot) => ({
    slot,
    position: table.positions.data[at + slot],
  }));
  return slots.sort((a, b) => a.position - b.position);
}

/** The policy's scores in the order of positions; null where it has none. */
export function scoresOf(store: SlotStore, layer: number, row: number, group: number): number[] | null {
  const table = store.tableOf(layer);
  return table ? scoresInOrder(table, row, group) : null;
}

function scoresInOrder(table: SlotTable, row: number, group: number): number[] | null {
  const scores = table.slotState[0];
  if (!scores) return null;
  const at = scores.at(row, table.groups === 1 ? 0 : group);
  return inOrder(table, row, group).map(({ slot }) => scores.data[at + slot]);
}

export function contentsOf(store: SlotStore, length: number, row: number): CacheContents {
  const layerGroups = Array.from(store.tables.values(), (table) => ({
    layers: table.layers,
    groups: range(table.groups).map((group) => ({
      positions: inOrder(table, row, group).map(({ position }) => position),
      scores: scoresInOrder(table, row, group),
    })),
  }));
  return { length, layerGroups };
}

/** The key and value that a layer holds for a position; null where it holds none. */
export function slotOf(
  store: SlotStore,
  layer: number,
  position: number,
  row: number,
  group: number,
): { key: Float32Array; value: Float32Array } | null {
  const found = slotsInOrder(store, layer, row, group).find((slot) => slot.position === position);
  if (!found) return null;
  const buffer = store.buffers[layer]!;
  const key = new Float32Array(buffer.keys.size);
  const value = new Float32Array(buffer.values.size);
  buffer.readKey({ row, group, slot: found.slot }, key);
  buffer.readValue({ row, group, slot: found.slot }, value);
  return { key, value };
}

export function memoryOf(store: SlotStore, rows: readonly Row[]): CacheMemory {
  const keysAndValues = store.slotBytes;
  const bookkeeping = rows.reduce((sum, row) => sum + row.bytes, store.tableBytes);
  const states = store.states.bytes + store.crossAttention.bytes;
  const total = keysAndValues + bookkeeping + states;
  return { keysAndValues, bookkeeping, states, total, keysAndValuesLimit: store.maxSlotBytes };
}

interface Inspected {
  readonly policy: string;
  readonly cacheLength: number;
  readonly store: SlotStore;
  readonly rows: readonly Row[];
  memory(): CacheMemory;
}

export function statsOf(cache: Inspected): CacheStats {
  const { policy, cacheLength, store, rows } = cache;
  const mean = (of: 'filled' | 'evicted', row: number) => {
    let sum = 0;
    let layers = 0;
    for (const table of store.tables.values()) {
      layers += table.layers.length;
      for (let g = 0; g < table.groups; g++)
        sum += (table[of][table.groupIndex(row, g)] * table.layers.length) / table.groups;
    }
    return layers === 0 ? 0 : sum / layers;
  };
  return {
    policy,
    cacheLength,
    seen: rows.map((row) => row.tokens.length),
    held: range(rows.length).map((row) => mean('filled', row)),
    evicted: range(rows.length).map((row) => mean('evicted', row)),
    bytes: cache.memory().total,
  };
}
