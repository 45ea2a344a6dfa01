/**
 * The map of a calibration, and its picture.
 */
import { describe, expect, it } from 'vitest';
import { anyTable } from '../../test/support/calibration.ts';
import { calibrationMap } from '../kvcache/routing/calibration-map.ts';
import type { CacheShape, LayerShape } from '../kvcache/shape.ts';
import { plotCalibration } from './calibration-plot.ts';

const LAYER: LayerShape = {
  slots: true,
  groups: 3,
  heads: 6,
  keySize: 8,
  valueSize: 8,
  attentionScale: 1,
  window: null,
  rotation: null,
};
const SHAPE: CacheShape = { layers: [LAYER, { ...LAYER, window: 16 }, LAYER, { ...LAYER, slots: false }] };

describe('the map of a calibration', () => {
  it('has the shares of all groups that are distributed, 1 on average, and more for those that read the past', () => {
    for (let seed = 0; seed < 20; seed++) {
      const { shares, retrieval } = calibrationMap(anyTable(SHAPE, seed));
      expect(shares.map(({ length }) => length)).toEqual([3, 0, 3, 0]);
      const all = shares.flat();
      expect(all.reduce((a, b) => a + b, 0) / all.length).toBeCloseTo(1, 6);
      expect(retrieval.map(({ length }) => length)).toEqual([3, 0, 3, 0]);
    }
    const table = anyTable(SHAPE, 1);
    const layers = table.layers.map(
      (groups) => groups?.map((group) => ({ ...group, retrieval: group.retrieval.map(() => -30) })) ?? null,
    );
    layers[2]![1] = { ...layers[2]![1], retrieval: layers[2]![1].retrieval.map((_, i) => i / 256 - 2) };
    const map = calibrationMap({ ...table, layers });
    expect(Math.max(...map.shares.flat())).toBe(map.shares[2][1]);
    expect(map.retrieval).toEqual([[0, 0, 0], [], [0, 1, 0], []]);
  });

  it('is drawn with a square for each group, and a dot for those that read the past', () => {
    const table = anyTable(SHAPE, 3);
    const svg = plotCalibration(table);
    const count = (text: string) => svg.split(text).length - 1;
    expect(svg).toMatch(/^<svg xmlns.*<\/svg>\n$/s);
    expect(count('<title>')).toBe(6);
    expect(count('<circle')).toBe(
      calibrationMap(table)
        .retrieval.flat()
        .filter((is) => is === 1).length,
    );
  });
});
