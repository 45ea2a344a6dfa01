/**
 * @file Where survivors go: each group's are always its first slots.
 */
import type { SlotBuffer } from './buffers/slot-buffer.ts';
import type { ChunkOutputs } from './chunk.ts';
import type { SlotTable } from './slots.ts';
import { groupsOf, type TableUndo } from './undo.ts';
import type { GroupView, LayerView } from './view.ts';

/** What a placement works on. */
export interface PlacementTarget {
  readonly table: SlotTable;
  /** By layer of the model. */
  readonly buffers: readonly (SlotBuffer | null)[];
  readonly undo: TableUndo;
  /** By layer of the model: which of the layers with slots it is. */
  readonly order: readonly number[];
  /** Place of the chunk's first token. */
  readonly place: number;
}

/**
 * Puts the survivors of a group into its first slots: those held stay where they are, as far as that is among the first; the
 * new ones, and those held further behind, take the places that are free, in ascending order.
 * @param kept how many there are.
 */
export function placeGroup(target: PlacementTarget, view: LayerView, group: GroupView, kept: number): void {
  const { table, undo } = target;
  const { row, chunk } = view;
  const { index: g, held, length, keep } = group;
  for (let c = 0; c < table.columns; c++)
    table.state[c].data.set(group.columns[c].subarray(0, held), table.state[c].at(row, g));
  const full = kept === length;
  if (!full) for (let slot = kept; slot < held; slot++) undo.save(row, g, slot);
  let free = full ? held : 0;
  for (let j = kept; j < held; j++) {
    if (keep[j] === 0) continue;
    free = nextFree(keep, free, held);
    undo.save(row, g, free);
    moveSlot(target, row, g, j, free++);
  }
  for (let j = held; j < length; ) {
    if (keep[j] === 0) {
      j++;
      continue;
    }
    free = nextFree(keep, free, held);
    const first = free;
    const start = j;
    // Neighbours go in one piece.
    do {
      undo.save(row, g, free);
      put(target, view, group, free++, j++);
    } while (j < length && keep[j] === 1 && (free >= held || keep[free] === 0));
    store(target, chunk, row, g, first, j - start, start - held);
  }
  if (kept < held) freeSlots(target, row, g, kept);
  table.filled[table.lane(row, g)] = kept;
}

/** The first slot from `free` on whose token goes, or that was not in use. */
function nextFree(keep: Uint8Array, free: number, held: number): number {
  let slot = free;
  while (slot < held && keep[slot] === 1) slot++;
  return slot;
}

/**
 * Frees the slots from `start` on, in all layers of a table. What they held is wiped: the formats' readers look at whole arrays,
 * and what comes out must follow from what is held alone.
 */
export function freeSlots(
  { table, buffers }: Pick<PlacementTarget, 'table' | 'buffers'>,
  row: number,
  g: number,
  start: number,
): void {
  const end = table.filled[table.lane(row, g)];
  for (const l of table.layers)
    for (const group of groupsOf(table, g, buffers[l]!)) buffers[l]!.wipe(row, group, start, end);
  table.free(row, g, start);
}

/** Copies one slot onto another, in all layers of a table. */
export function moveSlot(
  { table, buffers }: Pick<PlacementTarget, 'table' | 'buffers'>,
  row: number,
  g: number,
  from: number,
  to: number,
): void {
  table.move(row, g, from, to);
  for (const l of table.layers)
    for (const group of groupsOf(table, g, buffers[l]!)) buffers[l]!.copySlot(buffers[l]!, row, group, from, to);
}

/** Says what candidate `j` is in its new slot. */
function put({ table, place }: PlacementTarget, view: LayerView, group: GroupView, slot: number, j: number): void {
  table.put(view.row, group.index, slot, group.positions[j], place + j - group.held);
  for (let c = 0; c < table.columns; c++)
    table.state[c].data[table.state[c].at(view.row, group.index, slot)] = group.columns[c][j];
}

/** Writes `count` of the chunk's tokens, from token `t` on, into consecutive slots of all layers of a table. */
function store(
  { table, buffers, order }: PlacementTarget,
  { present, tokens, length }: ChunkOutputs,
  row: number,
  g: number,
  slot: number,
  count: number,
  t: number,
): void {
  for (const l of table.layers) {
    const buffer = buffers[l]!;
    const { headSize: D, groups } = buffer;
    for (const group of groupsOf(table, g, buffer)) {
      const keyAt = (((2 * order[l] * tokens.length + row) * groups.length + group) * length + t) * D;
      const valueAt = keyAt + tokens.length * groups.length * length * D;
      buffer.write({ row, group, slot }, count, present, keyAt, valueAt);
    }
  }
}
