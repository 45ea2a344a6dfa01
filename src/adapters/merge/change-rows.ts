/**
 * @file The rows of a matrix, of a bias or of a vector as adapters make them: row by row while they are read, in
 * float32.
 *
 * Several adapters add up: base + Σ weight · (what the adapter makes of the base - base).
 */
import { PIECE_VALUES } from '../../util/numbers.ts';
import type { RowSource } from '../../weights/types.ts';
import type { LowRank, PartChange } from '../types.ts';

/** A change and how much it counts. */
export interface WeightedChange {
  readonly change: PartChange;
  readonly weight: number;
}

/** Rows W of a part, changed. @param embedding its columns, not its rows, have the lengths that DoRA sets. */
export function changedRows(base: RowSource, changes: readonly WeightedChange[], embedding = false): RowSource {
  const active = changes.filter(({ change, weight }) => weight !== 0 && changesWeight(change));
  if (active.length === 0) return base;
  const { rows, cols } = base;
  const factors = active.map(({ change }) => factorOf(base, change, embedding));
  return {
    rows,
    cols,
    async read(start, count) {
      const own = await base.read(start, count);
      const sum = own.slice();
      for (const [i, { change, weight }] of active.entries()) {
        if (change.lowRank && !change.weight && !factors[i]) {
          addLowRank(sum, change.lowRank, start, count, weight);
          continue;
        }
        const mine = await madeRows(base, change, factors[i], start, count);
        for (let j = 0; j < sum.length; j++) sum[j] += weight * (mine[j] - own[j]);
      }
      return sum;
    },
  };
}

/** What one adapter alone makes of rows W. */
export function rowsOf(base: RowSource, change: PartChange, embedding = false): RowSource {
  if (!changesWeight(change)) return base;
  const factor = factorOf(base, change, embedding);
  const { rows, cols } = base;
  return { rows, cols, read: (start, count) => madeRows(base, change, factor, start, count) };
}

/** The factors f of all rows (of all columns, for an embedding); null where nothing is multiplied. */
export async function factorsOf(base: RowSource, change: PartChange, embedding = false): Promise<Float32Array | null> {
  return (await factorOf(base, change, embedding)?.values(0, base.rows, null)) ?? null;
}

/** A part's bias [rows, 1], changed; null where there is none before and after. */
export function changedBias(
  base: RowSource | null,
  rows: number,
  changes: readonly WeightedChange[],
): RowSource | null {
  const active = changes.filter(({ change, weight }) => weight !== 0 && changesBias(change, base !== null));
  if (active.length === 0) return base;
  return {
    rows,
    cols: 1,
    async read(start, count) {
      const own = base ? await base.read(start, count) : new Float32Array(count);
      const sum = own.slice();
      for (const { change, weight } of active) {
        const from = change.bias ? await change.bias.read(start, count) : own;
        for (let i = 0; i < count; i++) {
          const made = (from[i] + (change.shift?.[start + i] ?? 0)) * (change.scale?.[start + i] ?? 1);
          sum[i] += weight * (made - own[i]);
        }
      }
      return sum;
    },
  };
}

/** A vector, where adapters hold others in its place. */
export function changedVector(
  base: RowSource,
  others: readonly { readonly rows: RowSource; readonly weight: number }[],
): RowSource {
  const active = others.filter(({ weight }) => weight !== 0);
  if (active.length === 0) return base;
  return {
    ...base,
    async read(start, count) {
      const own = await base.read(start, count);
      const sum = own.slice();
      for (const { rows, weight } of active) {
        const other = await rows.read(start, count);
        for (let i = 0; i < sum.length; i++) sum[i] += weight * (other[i] - own[i]);
      }
      return sum;
    },
  };
}

export function changesWeight({ lowRank, magnitude, scale, weight }: PartChange): boolean {
  return lowRank !== undefined || magnitude !== undefined || scale !== undefined || weight !== undefined;
}

/** @param hasBias whether the base has one. */
export function changesBias({ bias, shift, scale }: PartChange, hasBias: boolean): boolean {
  return bias !== undefined || shift !== undefined || (scale !== undefined && hasBias);
}

/** What rows are multiplied with: each row with its own number, or (columns) each with the same vector. */
interface Factor {
  readonly columns: boolean;
  /** Of rows `start … start + count`, or of all columns. @param rows what they multiply, where that is known. */
  values(start: number, count: number, rows: Float32Array | null): Promise<Float32Array>;
}

function factorOf(base: RowSource, change: PartChange, embedding: boolean): Factor | null {
  const { magnitude, scale } = change;
  if (scale) return { columns: false, values: async (start, count) => scale.subarray(start, start + count) };
  if (!magnitude) return null;
  const plain = rowsOf(base, { ...change, magnitude: undefined });
  if (embedding) {
    let all: Promise<Float32Array> | null = null;
    const values = () => {
      all ??= columnLengths(plain).then((lengths) => lengths.map((n, j) => safeRatio(magnitude[j], n)));
      return all;
    };
    return { columns: true, values };
  }
  const values: Factor['values'] = async (start, count, known) => {
    const out = new Float32Array(count);
    const { cols } = base;
    const step = known ? count : Math.max(1, Math.floor(PIECE_VALUES / cols));
    for (let at = 0; at < count; at += step) {
      const height = Math.min(step, count - at);
      const rows = known ?? (await plain.read(start + at, height));
      for (let i = 0; i < height; i++) {
        let squares = 0;
        for (let j = i * cols; j < (i + 1) * cols; j++) squares += rows[j] * rows[j];
        out[at + i] = safeRatio(magnitude[start + at + i], Math.sqrt(squares));
      }
    }
    return out;
  };
  return { columns: false, values };
}

/** A row of zeros has no direction: it stays zero. */
const safeRatio = (magnitude: number, length: number): number => (length === 0 ? 0 : magnitude / length);

async function columnLengths({ rows, cols, read }: RowSource): Promise<Float32Array> {
  const squares = new Float64Array(cols);
  const step = Math.max(1, Math.floor(PIECE_VALUES / cols));
  for (let start = 0; start < rows; start += step) {
    const strip = await read(start, Math.min(step, rows - start));
    for (let i = 0; i < strip.length; i++) squares[i % cols] += strip[i] * strip[i];
  }
  return Float32Array.from(squares, Math.sqrt);
}

/** f ⊙ ((weight or W) + lowRank). */
async function madeRows(
  base: RowSource,
  change: PartChange,
  factor: Factor | null,
  start: number,
  count: number,
): Promise<Float32Array> {
  const out = (await (change.weight ?? base).read(start, count)).slice();
  if (change.lowRank) addLowRank(out, change.lowRank, start, count, 1);
  if (!factor) return out;
  const factors = await factor.values(start, count, out);
  const { cols } = base;
  for (let i = 0; i < count; i++) for (let j = 0; j < cols; j++) out[i * cols + j] *= factors[factor.columns ? j : i];
  return out;
}

/** rows += weight · (rows of b · a), rounded once. */
function addLowRank(rows: Float32Array, { a, b }: LowRank, start: number, count: number, weight: number): void {
  const { rows: rank, cols, data } = a;
  const sum = new Float64Array(cols);
  for (let i = 0; i < count; i++) {
    const row = rows.subarray(i * cols, (i + 1) * cols);
    sum.set(row);
    for (let k = 0; k < rank; k++) {
      const factor = weight * b.data[(start + i) * rank + k];
      if (factor === 0) continue;
      const from = k * cols;
      for (let j = 0; j < cols; j++) sum[j] += factor * data[from + j];
    }
    row.set(sum);
  }
}
