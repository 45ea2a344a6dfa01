/**
 * @file What a cache holds, as inputs of the graph: tensors over the cache's own arrays, which live on from step to
 * step.
 */
import { type StepTensor, tensorOf } from '../backends/types.ts';
import type { SlotArray, SlotData } from '../kvcache/buffers/slot-array.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { partOf } from '../kvcache/rows/chunk.ts';
import type { SlotTable } from '../kvcache/slots/slots.ts';
import { INPUT } from '../ops/step-names.ts';
import { range } from '../util/numbers.ts';
import { echoedGroups } from './echo.ts';
import { mergedGroups } from './group-names.ts';
import { KeySumInputs } from './key-sums.ts';

interface BoundArray {
  readonly name: string;
  readonly array: SlotArray<SlotData>;
  /** The group that it is, where groups differ in their slots; null: all. */
  readonly group: number | null;
  /** Whether the numbers of a slot are an axis. */
  readonly hasWidth: boolean;
  /** The memory that `tensor` is over; the array has another one once its layout has changed. */
  data: SlotData | null;
  tensor: StepTensor | null;
}

/** A cache's inputs by the names of ops/step-names.ts. */
export class BoundCache {
  /** Layer groups, or groups of them, whose echo the policy wants; null: it wants none, or no layer has slots. */
  readonly echoed: ReadonlySet<string> | null;
  /** Those whose slots may stand for several tokens; null: none. */
  readonly merged: ReadonlySet<string> | null;
  readonly #arrays: readonly BoundArray[];
  readonly #keySums: KeySumInputs;

  constructor(cache: KVCache) {
    const bound = (name: string, array: SlotArray<SlotData>, table: SlotTable, hasWidth: boolean): BoundArray[] => {
      const groups = table.ragged ? range(table.groups) : [null];
      return groups.map((group) => ({
        name: group === null ? name : partOf(name, group),
        array,
        group,
        hasWidth,
        data: null,
        tensor: null,
      }));
    };
    this.echoed = echoedGroups(cache);
    this.merged = mergedGroups(cache);
    this.#keySums = new KeySumInputs(cache);
    this.#arrays = [...cache.store.tables].flatMap(([name, table]) => {
      const buffers = table.layers.flatMap((l) =>
        cache.store.buffers[l]!.inputs.flatMap(({ name: part, array }) =>
          bound(INPUT.held(part, l), array, table, true),
        ),
      );
      const isMerged = (group: number | null) => this.merged?.has(group === null ? name : partOf(name, group));
      const counts = this.merged ? bound(INPUT.logTokens(name), table.slotState[0], table, false) : [];
      return [
        ...bound(INPUT.slots(name), table.positions, table, false),
        ...counts.filter(({ group }) => isMerged(group)),
        ...buffers,
      ];
    });
  }

  /** Puts them among the inputs of a step. */
  bind(inputs: Record<string, StepTensor>): void {
    for (const bound of this.#arrays) {
      const { array } = bound;
      if (bound.data !== array.data || !bound.tensor) {
        bound.data = array.data;
        bound.tensor = tensorOfSlots(bound);
      }
      inputs[bound.name] = bound.tensor;
    }
    this.#keySums.bind(inputs);
  }
}

function tensorOfSlots({ array, group, hasWidth }: BoundArray): StepTensor {
  const { batch, groups, capacity, width } = array;
  const dims = group === null ? [batch, groups, capacity] : [batch, 1, array.capacityOf(group)];
  const tensor = tensorOf(group === null ? array.data : array.groupData(group), hasWidth ? [...dims, width] : dims);
  return hasWidth && group === null ? { ...tensor, slots: array } : tensor;
}
