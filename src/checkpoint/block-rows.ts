/**
 * @file Rows of ggml's blocks in parts and in another order, without taking the blocks apart.
 */
import type { BlockRows } from './types.ts';

/** Blocks from row `first` on. */
export function slicedBlocks({ format, rowBytes, read, location }: BlockRows, first: number): BlockRows {
  return {
    format,
    rowBytes,
    read: (start, count, into) => read(first + start, count, into),
    ...(location ? { location: { path: location.path, offset: location.offset + first * rowBytes } } : {}),
  };
}

/** Rows in another order: row i is row `pick(i)`. */
export function pickedBlocks({ format, rowBytes, read }: BlockRows, pick: (row: number) => number): BlockRows {
  return {
    format,
    rowBytes,
    async read(start, count, into) {
      const out = into ?? new Uint8Array(count * rowBytes);
      await gatherRows(out, rowBytes, start, start + count, pick, read);
      return out;
    },
  };
}

/** Rows that are gathered at once. */
const GATHERED = 1024;

/** Typed arrays that rows are put together in. */
export interface Gatherable {
  set(values: this, at?: number): void;
  subarray(start: number, end: number): this;
  slice(start: number, end: number): this;
  copyWithin(to: number, start: number, end: number): this;
}

/** Reads rows. @param into memory that may be used. */
export type ReadRows<T> = (start: number, count: number, into?: T) => Promise<T>;

/** Reads rows into memory. */
export async function readInto<T extends Gatherable>(into: T, read: ReadRows<T>, start: number, count: number) {
  const rows = await read(start, count, into);
  if (rows !== into) into.set(rows);
}

/**
 * Rows `pick(start) … pick(end - 1)`. Rows that lie close together, in any order, are read in one piece. Neighbours in
 * another order are put in order where they are: a page of new memory costs more than a copy.
 */
export async function gatherRows<T extends Gatherable>(
  out: T,
  size: number,
  start: number,
  end: number,
  pick: (row: number) => number,
  read: ReadRows<T>,
): Promise<void> {
  for (let at = start; at < end; at += GATHERED) {
    const picks = new Int32Array(Math.min(GATHERED, end - at));
    let [low, high] = [Number.POSITIVE_INFINITY, 0];
    for (let i = 0; i < picks.length; i++) {
      const row = pick(at + i);
      picks[i] = row;
      if (row < low) low = row;
      if (row > high) high = row;
    }
    const span = high - low + 1;
    if (span === picks.length && new Set(picks).size === span) {
      const rows = out.subarray((at - start) * size, (at - start + span) * size);
      await readInto(rows, read, low, span);
      reorder(rows, size, picks, low);
      continue;
    }
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

/** Row i becomes row `from[i] - low`, which is each row once. */
function reorder<T extends Gatherable>(rows: T, size: number, from: Int32Array, low: number): void {
  const isDone = new Uint8Array(from.length);
  for (let first = 0; first < from.length; first++) {
    if (isDone[first] === 1) continue;
    const kept = rows.slice(first * size, (first + 1) * size);
    let at = first;
    for (let next = from[at] - low; next !== first; next = from[at] - low) {
      rows.copyWithin(at * size, next * size, (next + 1) * size);
      isDone[at] = 1;
      at = next;
    }
    rows.set(kept, at * size);
    isDone[at] = 1;
  }
}
