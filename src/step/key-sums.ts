/**
 * @file The sums of the directions of held keys, as inputs of the graph: arrays that live on from step to step.
 */
import { type StepOutputs, type StepTensor, tensorOf } from '../backends/types.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { SlotTable } from '../kvcache/slots/slots.ts';
import { partName } from '../kvcache/slots/table-parts.ts';
import { INPUT, OUTPUT } from '../ops/step-names.ts';

/** One input: the sums of all groups of a layer, or of a part of them where they differ in their slots. */
interface BoundSums {
  readonly name: string;
  readonly table: SlotTable;
  readonly groups: readonly number[];
  readonly size: number;
  tensor: StepTensor;
}

/** The sums of a cache whose policy asks for products of keys. */
export class KeySumInputs {
  readonly #cache: KVCache;
  readonly #bound: readonly BoundSums[];

  constructor(cache: KVCache) {
    this.#cache = cache;
    const tables = cache.keySums ? [...cache.store.tables.values()] : [];
    this.#bound = tables.flatMap((table) => {
      const [layer] = table.layers;
      const size = cache.shape.layers[layer].keySize;
      return table.parts.map(({ groups }, i) => ({
        name: INPUT.keySums(table.ragged ? partName(`${layer}`, i) : layer),
        table,
        groups,
        size,
        tensor: sumsOf(cache.batch, groups.length, size),
      }));
    });
  }

  /** Puts them among the inputs of a step. */
  bind(inputs: Record<string, StepTensor>): void {
    const { keySums, rows, batch } = this.#cache;
    for (const bound of this.#bound) {
      const { name, table, groups, size } = bound;
      if (bound.tensor.dims[0] !== batch) bound.tensor = sumsOf(batch, groups.length, size);
      const data = bound.tensor.data as Float32Array;
      let to = 0;
      for (let row = 0; row < batch; row++)
        for (const group of groups) {
          const numbers = rows[row].keySums;
          const from = keySums!.at(numbers, table, row, group);
          for (let i = 0; i < size; i++) data[to++] = numbers[from + i];
        }
      inputs[name] = bound.tensor;
    }
  }
}

const sumsOf = (batch: number, groups: number, size: number): StepTensor =>
  tensorOf(new Float32Array(batch * groups * size), [batch, groups, 1, size]);

/** The products that the graph gave. */
export function keyProductsOf(
  { keySums, store }: KVCache,
  outputs: StepOutputs,
): Map<string, Float32Array> | undefined {
  if (!keySums) return undefined;
  const names = [...store.tables.values()].flatMap(({ parts }) => parts.map(({ name }) => name));
  return new Map(names.map((name) => [name, outputs[OUTPUT.reduced('along', name)].data]));
}
