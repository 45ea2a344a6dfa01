/**
 * @file What a cache holds, as inputs of the graph: tensors over the cache's own arrays, which live on from step to step.
 */

import type { Runtime, RuntimeTensor } from '../backends/types.ts';
import type { Config } from '../config/config.ts';
import type { Plane, PlaneData } from '../kvcache/buffers/plane.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { needsPositions } from '../model/bias.ts';

interface BoundPlane {
  readonly name: string;
  readonly plane: Plane<PlaneData>;
  readonly dims: (plane: Plane<PlaneData>) => readonly number[];
  /** Over this array of the plane, which has another one once its layout has changed. */
  data: PlaneData | null;
  tensor: RuntimeTensor | null;
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
        needsPositions(config, table.layers[0]) ? table.positions : table.hidden,
        ({ batch, groups, capacity }) => [batch, groups, 1, 1, capacity],
      ),
      ...table.layers.flatMap((l) =>
        cache.buffers[l]!.inputs.map(({ name: part, plane }) =>
          bound(`${part}.${l}`, plane, ({ batch, groups, capacity, width }) => [batch, groups, 1, capacity, width]),
        ),
      ),
    ]);
  }

  /** Puts them among the inputs of a step. */
  bind(inputs: Record<string, RuntimeTensor>, runtime: Runtime): void {
    for (const bound of this.#planes) {
      const { plane } = bound;
      if (bound.data !== plane.data || !bound.tensor) {
        bound.data = plane.data;
        bound.tensor = runtime.tensor(plane.data, bound.dims(plane));
      }
      inputs[bound.name] = bound.tensor;
    }
  }
}
