/**
 * @file Rows of ggml's blocks in parts and in another order, without taking the blocks apart.
 */
import type { BlockRows } from './types.ts';

/** Blocks from row `first` on. */
export function slicedBlocks({ format, rowBytes, read, location }: BlockRows, first: number): BlockRows {
  return {
    format,
    rowBytes,
    read: (start, count) => read(first + start, count),
    ...(location ? { location: { path: location.path, offset: location.offset + first * rowBytes } } : {}),
  };
}

/** Rows in another order: row i is row `pick(i)`. */
export function pickedBlocks({ format, rowBytes, read }: BlockRows, pick: (row: number) => number): BlockRows {
  return {
    format,
    rowBytes,
    async read(start, count) {
      const out = new Uint8Array(count * rowBytes);
      await gatherRows(out, rowBytes, start, start + count, pick, read);
      return out;
    },
  };
}

/** Rows that are gathered at once. */
const GATHERED = 1024;

/** Typed arrays that rows are put together in. */
export interface Gatherable {
  set(values: this, at: number): void;
  subarray(start: number, end: number): this;
}

/** Rows `pick(start) … pick(end - 1)`. Rows that lie close together, in any order, are read in one piece. */
export async function gatherRows<T extends Gatherable>(
  out: T,
  size: number,
  start: number,
  end: number,
  pick: (row: number) => number,
  read: (row: number, rows: number) => Promise<T>,
): Promise<void> {
  for (let at = start; at < end; at += GATHERED) {
    const picks = Array.from({ length: Math.min(GATHERED, end - at) }, (_, i) => pick(at + i));
    const low = Math.min(...picks);
    const span = Math.max(...picks) - low + 1;
    if (span <= 2 * picks.length) {
      const rows = await read(low, span);
      for (const [i, row] of picks.entries())
        out.set(rows.subarray((row - low) * size, (row - low + 1) * size), (at - start + i) * size);
      continue;
    }
    for (let i = 0; i < picks.length; ) {
      let run = 1;
      while (i + run < picks.length && picks[i + run] === picks[i] + run) run++;
      out.set(await read(picks[i], run), (at - start + i) * size);
      i += run;
    }
  }
}
