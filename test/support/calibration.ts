/**
 * @file Calibration tables of models that were never measured.
 */
import { QueryMoments } from '../../src/engine/calibration/query-moments.ts';
import type { KeyRounding } from '../../src/kvcache/buffers/key-rounding.ts';
import {
  CALIBRATION_VERSION,
  type CalibrationTable,
  calibratedLayers,
  LOCAL_WINDOWS,
  QUANTILES,
} from '../../src/kvcache/routing/calibration-table.ts';
import type { CacheShape, LayerShape } from '../../src/kvcache/shape.ts';
import { range } from '../../src/util/numbers.ts';
import { seeded } from './seeded.ts';

/** Moments of the queries of a layer's heads, which are like each other [H, keySize, keySize]. */
export function anyQueryProducts({ keySize: D, heads }: LayerShape, seed: number): Float32Array {
  const random = seeded(seed);
  const queryProducts = new Float32Array(heads * D * D);
  for (const head of range(heads)) {
    const main = range(D).map(() => random(2000) / 1000 - 1);
    for (const i of range(D))
      for (const j of range(D))
        queryProducts[(head * D + i) * D + j] = main[i] * main[j] + (i === j ? random(1000) / 1e4 : 0);
  }
  return queryProducts;
}

/** What keys of a layer with such queries are rounded by. */
export function anyRoundings(layer: LayerShape, seed: number): readonly KeyRounding[] {
  const moments = new QueryMoments(layer);
  moments.add({ queryProducts: anyQueryProducts(layer, seed) });
  return moments.roundings()!;
}

/** A table in which some groups read the past, and others do not. */
export function anyTable(shape: CacheShape, seed: number): CalibrationTable {
  const random = seeded(seed);
  const layers = calibratedLayers(shape);
  const group = (rounding: KeyRounding) => {
    const [spread, level] = [random(1000) / 100, -random(1000) / 100];
    const [lost, rate] = [random(1000) / 1e4, 1 + random(100) / 50];
    return {
      retrieval: Array.from({ length: QUANTILES }, (_, i) => level + spread * (i / QUANTILES - 1)),
      local: LOCAL_WINDOWS.map((_, w) => lost / rate ** w),
      rounding,
    };
  };
  return {
    version: CALIBRATION_VERSION,
    model: 'm',
    texts: 't',
    length: 512,
    layers: shape.layers.map((layer, l) =>
      layers.includes(l) ? anyRoundings(layer, seed + l).map((rounding) => group(rounding)) : null,
    ),
  };
}
