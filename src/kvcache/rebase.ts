/**
 * @file Endless sequences: survivors move closer together, so that the next token is at a position that the model knows.
 */
import type { SlotBuffer } from './buffers/slot-buffer.ts';
import { type CacheShape, turnKey } from './shape.ts';
import type { SlotTable } from './slots.ts';
import { groupsOf } from './undo.ts';

/**
 * Turns a row's keys so that they stand side by side, in their order (what StreamingLLM does at every step, arXiv 2309.17453,
 * done once in a while). Sinks go to the start; all others end before the place that is returned, which is the next token's.
 */
export function rebaseRow(
  shape: CacheShape,
  tables: Iterable<SlotTable>,
  buffers: readonly (SlotBuffer | null)[],
  row: number,
  sinks: number,
): number {
  const all = [...tables];
  const next = Math.max(0, ...all.flatMap((table) => lanes(table, row).map((lane) => table.filled[lane])));
  const key = new Float32Array(shape.headSize);
  for (const table of all)
    for (let g = 0; g < table.groups; g++) {
      const count = table.filled[table.lane(row, g)];
      const at = table.places.at(row, g);
      const order = Array.from({ length: count }, (_, slot) => slot);
      order.sort((a, b) => table.positions.data[at + a] - table.positions.data[at + b]);
      for (const [rank, slot] of order.entries()) {
        // By position: what a window holds first is no sink, and stays as near to the next token as it was.
        const isSink = table.positions.data[at + slot] < sinks;
        const place = isSink ? rank : next - count + rank;
        const before = table.places.data[at + slot];
        table.places.data[at + slot] = place;
        if (place === before) continue;
        for (const l of table.layers) {
          const { rotation } = shape.layers[l];
          if (rotation === null || rotation === 'varies') continue;
          for (const group of groupsOf(table, g, buffers[l]!)) {
            const slotPlace = { row, group, slot };
            buffers[l]!.readKey(slotPlace, key);
            turnKey(key, rotation, before, place);
            buffers[l]!.writeKey(slotPlace, key);
          }
        }
      }
    }
  return next;
}

function lanes(table: SlotTable, row: number): number[] {
  return Array.from({ length: table.groups }, (_, g) => table.lane(row, g));
}
