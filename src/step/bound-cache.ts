/**
 * @file What a cache holds, as inputs of the graph: tensors over the cache's own arrays, which live on from step to step.
 */

import { type StepTensor, tensorOf } from '../backends/types.ts';
import type { Config } from '../config/config.ts';
import { keepsSlots } from '../config/layer-spec.ts';
import type { Plane, PlaneData } from '../kvcache/buffers/plane.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { readsPositions } from '../ops/attention.ts';

interface BoundPlane {
  readonly name: string;
  readonly plane: Plane<PlaneData>;
  readonly dims: (plane: Plane<PlaneData>) => readonly number[];
  /** Over this array of the plane, which has another one once its layout has changed. */
  data: PlaneData | null;
  tensor: StepTensor | null;
}

/** The mask of a layer's attention. */
function maskOf({ layers, position }: Config, layer: number) {
  const { mixer } = layers[layer];
  return { window: keepsSlots(mixer) ? mixer.window : null, alibi: position === 'alibi' ? true : null };
}

/** A cache's inputs by the names that gpt.ts tells. */
export class BoundCache {
  readonly #planes: readonly BoundPlane[];

  constructor(config: Config, cache: KVCache) {
    const bound = (name: string, plane: Plane<PlaneData>, dims: BoundPlane['dims']): BoundPlane => ({
      name,
      plane,
      dims,
      data: null,
      tensor: null,
    });
    this.#planes = [...cache.tables].flatMap(([name, table]) => [
      bound(
        `slots.${name}`,
        readsPositions(maskOf(config, table.layers[0])) ? table.positions : table.hidden,
        ({ batch, groups, capacity }) => [batch, groups, capacity],
      ),
      ...table.layers.flatMap((l) =>
        cache.buffers[l]!.inputs.map(({ name: part, plane }) =>
          bound(`${part}.${l}`, plane, ({ batch, groups, capacity, width }) => [batch, groups, capacity, width]),
        ),
      ),
    ]);
  }

  /** Puts them among the inputs of a step. */
  bind(inputs: Record<string, StepTensor>): void {
    for (const bound of this.#planes) {
      const { plane } = bound;
      if (bound.data !== plane.data || !bound.tensor) {
        bound.data = plane.data;
        bound.tensor = tensorOf(plane.data, bound.dims(plane));
      }
      inputs[bound.name] = bound.tensor;
    }
  }
}
