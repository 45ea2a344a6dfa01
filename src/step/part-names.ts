/**
 * @file Names of the layer groups of a cache, or of parts of them, that one thing is true of.
 */
import type { KVCache } from '../kvcache/kv-cache.ts';
import { asksFor, type Reduction } from '../kvcache/policy/needs.ts';
import type { SlotTable } from '../kvcache/slots/slots.ts';

/**
 * A part of a layer group is named if it is true of one of its groups.
 * @returns null where it is true of none.
 */
export function partNames(
  { store }: KVCache,
  isTrue: (table: SlotTable, group: number) => boolean,
): ReadonlySet<string> | null {
  const names = [...store.tables.values()].flatMap((table) =>
    table.parts.filter(({ groups }) => groups.some((group) => isTrue(table, group))).map(({ name }) => name),
  );
  return names.length > 0 ? new Set(names) : null;
}

/** What is true of some parts of a cache's layer groups; null: of none. */
export interface NamedParts {
  /** Those whose attention weights the policy wants summed over queries. */
  readonly summed: ReadonlySet<string> | null;
  /** Those whose echo it wants … */
  readonly echoed: ReadonlySet<string> | null;
  /** … of all that is held, too. */
  readonly echoedWhole: ReadonlySet<string> | null;
  /** Those whose slots may stand for several tokens. */
  readonly merged: ReadonlySet<string> | null;
}

export function namedParts(cache: KVCache): NamedParts {
  const { needsOf } = cache.rules;
  const thatNeed = (reduction: Reduction) =>
    partNames(cache, ({ layers }, group) => asksFor(reduction, needsOf(layers[0], group)));
  return {
    summed: thatNeed('sum'),
    echoed: thatNeed('echo'),
    echoedWhole: partNames(cache, ({ layers }, group) => needsOf(layers[0], group).includes('echo')),
    merged: partNames(cache, ({ merges }, group) => merges[group]),
  };
}
