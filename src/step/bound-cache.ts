/**
 * @file What a cache holds, as inputs of the graph: tensors over the cache's own arrays, which live on from step to
 * step.
 */
import { type StepTensor, tensorOf } from '../backends/types.ts';
import type { SlotArray, SlotData } from '../kvcache/buffers/slot-array.ts';
import type { SlotBuffer } from '../kvcache/buffers/slot-buffer.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { SlotTable } from '../kvcache/slots/slots.ts';
import { partName, type TablePart } from '../kvcache/slots/table-parts.ts';
import { INPUT } from '../ops/step-names.ts';
import { GatheredParts } from './gathered-parts.ts';
import { KeySumInputs } from './key-sums.ts';
import { type NamedParts, namedParts } from './part-names.ts';

interface BoundArray {
  readonly name: string;
  readonly array: SlotArray<SlotData>;
  readonly tensorOf: () => StepTensor;
  /** The memory that `tensor` is over; the array has another one once its layout has changed. */
  data: SlotData | null;
  tensor: StepTensor | null;
}

/** A cache's inputs by the names of ops/step-names.ts. */
export class BoundCache {
  readonly parts: NamedParts;
  readonly #arrays: readonly BoundArray[];
  readonly #gathered: readonly GatheredParts[];
  readonly #keySums: KeySumInputs;

  constructor(cache: KVCache) {
    const { store } = cache;
    const bound = (name: string, array: SlotArray<SlotData>, makeTensor: () => StepTensor): BoundArray => ({
      name,
      array,
      tensorOf: makeTensor,
      data: null,
      tensor: null,
    });
    this.parts = namedParts(cache);
    this.#keySums = new KeySumInputs(cache);
    const { merged } = this.parts;
    const tables = [...store.tables.values()];
    this.#gathered = tables.filter(({ gathers }) => gathers).map((table) => new GatheredParts(table, merged));
    this.#arrays = tables.flatMap((table) => {
      const buffers = table.layers.map((l) => [l, store.buffers[l]!] as const);
      const each = (of: (layer: number, buffer: SlotBuffer['inputs'][number]) => BoundArray[]) =>
        buffers.flatMap(([l, { inputs }]) => inputs.flatMap((input) => of(l, input)));
      if (table.gathers)
        return each((l, { name, array }) => [bound(INPUT.held(name, l), array, () => wholeTensor(array))]);
      return table.parts.flatMap((part, i) => {
        const ofTable = (name: string, array: SlotArray<SlotData>) =>
          bound(name, array, () => partTensor(array, table, part, false));
        const layerName = (l: number) => (table.ragged ? partName(`${l}`, i) : l);
        return [
          ofTable(INPUT.slots(part.name), table.positions),
          ...(merged?.has(part.name) ? [ofTable(INPUT.logTokens(part.name), table.slotState[0])] : []),
          ...each((l, { name, array }) => [
            bound(INPUT.held(name, layerName(l)), array, () => partTensor(array, table, part, true)),
          ]),
        ];
      });
    });
  }

  /** Puts them among the inputs of a step. */
  bind(inputs: Record<string, StepTensor>): void {
    for (const bound of this.#arrays) {
      const { array } = bound;
      if (bound.data !== array.data || !bound.tensor) {
        bound.data = array.data;
        bound.tensor = bound.tensorOf();
      }
      inputs[bound.name] = bound.tensor;
    }
    for (const gathered of this.#gathered) gathered.bind(inputs);
    this.#keySums.bind(inputs);
  }
}

/** Slots of all groups, or of the one group of a part. @param hasWidth whether the numbers of a slot are an axis. */
function partTensor(
  array: SlotArray<SlotData>,
  { ragged }: SlotTable,
  { groups: [group] }: TablePart,
  hasWidth: boolean,
): StepTensor {
  const { batch, groups, capacity, width } = array;
  const dims = ragged ? [batch, 1, array.capacityOf(group)] : [batch, groups, capacity];
  const tensor = tensorOf(ragged ? array.groupData(group) : array.data, hasWidth ? [...dims, width] : dims);
  return hasWidth && !ragged ? { ...tensor, slots: array } : tensor;
}

/** All slots behind each other. */
function wholeTensor({ data, width }: SlotArray<SlotData>): StepTensor {
  return tensorOf(data, [data.length / width, width]);
}
