/**
 * @file Names of the layer groups of a cache, or of groups of them, that one thing is true of.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';
import { partOf } from '../kvcache/rows/chunk.ts';
import type { SlotTable } from '../kvcache/slots/slots.ts';
import { range } from '../util/numbers.ts';

/**
 * Where groups differ in their slots each has a name of its own. Otherwise a layer group is named if it is true of one
 * of its groups.
 * @returns null where it is true of none.
 */
export function groupNames(
  { store }: KVCache,
  isTrue: (table: SlotTable, group: number) => boolean,
): ReadonlySet<string> | null {
  const names = [...store.tables].flatMap(([name, table]) => {
    const wanted = range(table.groups).filter((group) => isTrue(table, group));
    if (table.ragged) return wanted.map((group) => partOf(name, group));
    return wanted.length > 0 ? [name] : [];
  });
  return names.length > 0 ? new Set(names) : null;
}

/** Those whose slots may stand for several tokens. */
export const mergedGroups = (cache: KVCache): ReadonlySet<string> | null =>
  groupNames(cache, ({ merges }, group) => merges[group]);
