/**
 * @file Rows of fused tensors in the model's order, and rows that are computed.
 */
import { pickRows, sliceRows } from './rows.ts';
import type { Segments } from './tensor-map.ts';
import type { RowSource } from './types.ts';

/** One segment of each group, group after group. */
export function takeSegment(whole: RowSource, { count, sizes }: Segments, segment: number): RowSource {
  const size = sizes[segment];
  const period = sizes.reduce((a, b) => a + b, 0);
  const first = sizes.slice(0, segment).reduce((a, b) => a + b, 0);
  if (count === 1) return sliceRows(whole, first, size);
  return pickRows(whole, (row) => Math.floor(row / size) * period + first + (row % size), count * size);
}

/** Rows in all of the segments' groups. */
export function segmentRows({ count, sizes }: Segments): number {
  return count * sizes.reduce((a, b) => a + b, 0);
}

/** A table of positions, as XGLM computes it: row p + 2 is of position p, and row 1 belongs to padding. */
export function sinusoids(rows: number, cols: number): RowSource {
  const half = Math.floor(cols / 2);
  const step = Math.log(10_000) / (half - 1);
  return {
    rows,
    cols,
    read: async (start, count) => {
      const data = new Float32Array(count * cols);
      for (let r = 0; r < count; r++) {
        if (start + r === 1) continue;
        for (let i = 0; i < half; i++) {
          const angle = (start + r) * Math.exp(-step * i);
          data[r * cols + i] = Math.sin(angle);
          data[r * cols + half + i] = Math.cos(angle);
        }
      }
      return data;
    },
  };
}
