/**
 * @file Calibration tables of models that were never measured.
 */
import {
  CALIBRATION_VERSION,
  type CalibrationTable,
  calibratedLayers,
  LOCAL_WINDOWS,
  QUANTILES,
} from '../../src/kvcache/routing/calibration-table.ts';
import type { CacheShape } from '../../src/kvcache/shape.ts';
import { seeded } from './seeded.ts';

/** A table in which some groups read the past, and others do not. */
export function anyTable(shape: CacheShape, seed: number): CalibrationTable {
  const random = seeded(seed);
  const layers = calibratedLayers(shape);
  const group = () => {
    const [spread, level] = [random(1000) / 100, -random(1000) / 100];
    const [lost, rate] = [random(1000) / 1e4, 1 + random(100) / 50];
    return {
      retrieval: Array.from({ length: QUANTILES }, (_, i) => level + spread * (i / QUANTILES - 1)),
      local: LOCAL_WINDOWS.map((_, w) => lost / rate ** w),
    };
  };
  return {
    version: CALIBRATION_VERSION,
    model: 'm',
    texts: 't',
    length: 512,
    layers: shape.layers.map(({ groups }, l) => (layers.includes(l) ? Array.from({ length: groups }, group) : null)),
  };
}
