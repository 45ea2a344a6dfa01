/**
 * @file What a calibration says of a model at a glance: how many slots each query group gets, in parts of the mean.
 */
import type { CacheShape } from '../shape.ts';
import type { CalibrationTable } from './calibration-table.ts';
import { routesOf } from './routes.ts';

export interface CalibrationMap {
  /** By layer and group: slots, in parts of the mean of all groups; empty for layers that are not distributed. */
  readonly shares: readonly (readonly number[])[];
  /** 1: the group reads the past, and has the retrieval policy. */
  readonly retrieval: readonly (readonly number[])[];
}

/** Slots of a cache that the map is made for: enough that rounding does not show. */
const SLOTS = 1000;

/** @param part of a sequence's tokens that the cache keeps. @default 0.1 */
export function calibrationMap(table: CalibrationTable, part = 0.1): CalibrationMap {
  const { slots, retrieval } = routesOf(table, shapeOf(table), SLOTS, { length: Math.round(SLOTS / part) });
  return { shares: slots.map((groups) => groups.map((count) => count / SLOTS)), retrieval };
}

/** As much of the model's shape as the table tells. */
function shapeOf({ layers }: CalibrationTable): CacheShape {
  return {
    layers: layers.map((groups) => ({
      slots: groups !== null,
      groups: groups?.length ?? 0,
      heads: groups?.length ?? 0,
      keySize: 1,
      valueSize: 1,
      attentionScale: 1,
      window: null,
      rotation: null,
    })),
  };
}
