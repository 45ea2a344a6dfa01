/**
 * @file Endless sequences: survivors move closer together, so that the next token is at a position that the model
 * knows.
 */
import type { Policy } from '../policy/policy.ts';
import { type CacheShape, turnKey } from '../shape.ts';
import { groupsOf } from '../slots/layer-group.ts';
import type { SlotStore } from '../slots/slot-store.ts';
import type { Row } from './row.ts';

/**
 * Turns a row's keys so that they stand side by side, in their order (what StreamingLLM does at every step,
 * arXiv 2309.17453, done once in a while). Sinks go to the start; all others end before the position that is returned,
 * which is the next token's.
 */
export function rebaseRow(shape: CacheShape, store: SlotStore, row: number, sinks: number): number {
  store.own();
  const next = mostHeld(store, row);
  for (const table of store.tables.values())
    for (let g = 0; g < table.groups; g++) {
      const count = table.filled[table.groupIndex(row, g)];
      const at = table.positions.at(row, g);
      const order = Array.from({ length: count }, (_, slot) => slot);
      order.sort((a, b) => table.positions.data[at + a] - table.positions.data[at + b]);
      for (const [rank, slot] of order.entries()) {
        // By position: what a window holds first is no sink, and stays as near to the next token as it was.
        const isSink = table.positions.data[at + slot] < sinks;
        const to = isSink ? rank : next - count + rank;
        const from = table.ropePosition(row, g, slot);
        table.turn(row, g, slot, to);
        if (to === from) continue;
        for (const l of table.layers) {
          const { rotation, keySize } = shape.layers[l];
          if (rotation === null || rotation === 'varies') continue;
          const buffer = store.buffers[l]!;
          const key = new Float32Array(keySize);
          for (const group of groupsOf(table, g, buffer)) {
            const address = { row, group, slot };
            buffer.readKey(address, key);
            turnKey(key, rotation, from, to);
            buffer.writeKey(address, key);
          }
        }
      }
    }
  return next;
}

interface Rebased {
  readonly options: { readonly rebase?: boolean };
  readonly rules: Policy;
  readonly store: SlotStore;
  readonly rows: readonly Row[];
  readonly canRebase: boolean;
}

/** Whether a row's next `count` tokens would exceed a model's `limit` of positions, and would not after a rebase. */
export function needsRebase(cache: Rebased, row: number, count: number, limit: number): boolean {
  const { options, rules, store, rows, canRebase } = cache;
  if (rows[row].ropePosition + count <= limit || options.rebase === false || !rules.evicts || !canRebase) return false;
  return mostHeld(store, row) + count <= limit;
}

function mostHeld(store: SlotStore, row: number): number {
  return Math.max(0, ...[...store.tables.values()].flatMap((table) => [...table.filledOf(row)]));
}
