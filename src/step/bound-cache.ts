/**
 * @file What a cache holds, as inputs of the graph: tensors over the cache's own arrays, which live on from step to step.
 */

import { type StepTensor, tensorOf } from '../backends/types.ts';
import type { Config } from '../config/config.ts';
import { slotSpec } from '../config/layer-spec.ts';
import type { SlotArray, SlotData } from '../kvcache/buffers/slot-array.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { readsPositions } from '../ops/attention.ts';

interface BoundArray {
  readonly name: string;
  readonly array: SlotArray<SlotData>;
  readonly dims: (array: SlotArray<SlotData>) => readonly number[];
  /** The memory that `tensor` is over; the array has another one once its layout has changed. */
  data: SlotData | null;
  tensor: StepTensor | null;
}

/** The mask of a layer's attention. */
function maskOf({ layers, position }: Config, layer: number) {
  const { window, chunk } = slotSpec(layers[layer].mixer)!;
  return { window, chunk, alibi: position === 'alibi' ? true : null };
}

/** A cache's inputs by the names that gpt.ts tells. */
export class BoundCache {
  readonly #arrays: readonly BoundArray[];

  constructor(config: Config, cache: KVCache) {
    const bound = (name: string, array: SlotArray<SlotData>, dims: BoundArray['dims']): BoundArray => ({
      name,
      array,
      dims,
      data: null,
      tensor: null,
    });
    this.#arrays = [...cache.store.tables].flatMap(([name, table]) => [
      bound(
        `slots.${name}`,
        readsPositions(maskOf(config, table.layers[0])) ? table.positions : table.hidden,
        ({ batch, groups, capacity }) => [batch, groups, capacity],
      ),
      ...table.layers.flatMap((l) =>
        cache.store.buffers[l]!.inputs.map(({ name: part, array }) =>
          bound(`${part}.${l}`, array, ({ batch, groups, capacity, width }) => [batch, groups, capacity, width]),
        ),
      ),
    ]);
  }

  /** Puts them among the inputs of a step. */
  bind(inputs: Record<string, StepTensor>): void {
    for (const bound of this.#arrays) {
      const { array } = bound;
      if (bound.data !== array.data || !bound.tensor) {
        bound.data = array.data;
        bound.tensor = tensorOf(array.data, bound.dims(array));
      }
      inputs[bound.name] = bound.tensor;
    }
  }
}
