/**
 * @file What a step changed, for listeners. It costs nothing without them.
 */
import type { LayerView } from '../policy/view.ts';
import type { SlotTable } from '../slots/slots.ts';
import type { ChunkOutputs } from './chunk.ts';

/** What a step changed in one row and layer group. */
export interface CacheStep {
  /** Index of the row. */
  readonly row: number;
  /** Name of the layer group. */
  readonly layerGroup: string;
  /** Indices of its layers. */
  readonly layers: readonly number[];
  /** Whether the chunk belongs to a prompt, and whether it is its last one. */
  readonly phase: ChunkOutputs['phase'];
  /** Tokens of the row after the step. */
  readonly length: number;
  /** Per query group; a single one where all groups hold the same. */
  readonly groups: readonly GroupStep[];
}

/** What a step did to the slots of one query group. */
export interface GroupStep {
  /** Positions that were written into slots. */
  readonly written: readonly number[];
  /** Positions that are not held any more, those of the chunk that were never written included. */
  readonly evicted: readonly number[];
  /** Slots in use. */
  readonly held: number;
}

/** Called for each row and layer group after a step. It must not change the cache. */
export type StepListener = (step: CacheStep) => void;

export class StepEvents {
  readonly #listeners = new Set<StepListener>();

  get wanted(): boolean {
    return this.#listeners.size > 0;
  }

  /** @returns what ends it. */
  add(listener: StepListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Reads a layer after its policy has decided, and before the memory changes. */
  describe(view: LayerView, { name, layers }: SlotTable): CacheStep {
    const groups = view.groups.map(({ positions, keep, held, length, kept }) => {
      const [written, evicted]: number[][] = [[], []];
      for (let j = 0; j < length; j++) {
        if (keep[j] === 0) evicted.push(positions[j]);
        else if (j >= held) written.push(positions[j]);
      }
      return { written, evicted, held: kept };
    });
    return { row: view.row, layerGroup: name, layers, phase: view.phase, length: view.lastPosition + 1, groups };
  }

  emit(steps: readonly CacheStep[]): void {
    for (const step of steps) for (const listener of this.#listeners) listener(step);
  }
}
