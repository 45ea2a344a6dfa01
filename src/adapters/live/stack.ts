/**
 * @file The low-rank parts of several adapters at one hook, stacked along their ranks into the graph's matrices.
 */
import { joined, sideBySide } from '../read/matrices.ts';
import type { Matrix } from '../types.ts';
import type { LiveAdapter, Piece } from './live-adapter.ts';

/** A run of ranks that belong to one adapter. */
export interface RankRun {
  readonly adapter: LiveAdapter;
  readonly ranks: number;
}

/** What goes into the graph at one hook. */
export interface Stack {
  readonly a: Matrix;
  /** One for each block of columns. */
  readonly blocks: readonly Matrix[];
  /** Whose ranks they are, in their order. */
  readonly runs: readonly RankRun[];
}

/**
 * Blocks save the zeros that ranks of one block would have for the columns of others; but they are more operators. As
 * many zeros as these take longer to read than some more operators take.
 */
const WORTH_BLOCKS = 2 ** 17;

interface OwnedPiece extends Piece {
  readonly adapter: LiveAdapter;
}

/** Stacks what the adapters have at a hook; at least one of them has something. */
export function stackOf(name: string, adapters: readonly LiveAdapter[]): Stack {
  const pieces = adapters.flatMap((adapter) =>
    (adapter.hooks.get(name)?.pieces ?? []).map((piece) => ({ ...piece, adapter })),
  );
  const out = pieces[0].adapter.hooks.get(name)!.out;
  // The embedding's rows are gathered: its ranks lie beside each other.
  if (out === null) return stacked(pieces, [sideBySide(pieces.map(({ b }) => b))]);
  const starts = [...new Set(pieces.map(({ start }) => start))].sort((a, b) => a - b);
  const groups = starts.map((start) => pieces.filter((piece) => piece.start === start));
  const inBlocks = groups.flat();
  if (!arePartition(groups, out) || zerosOf(groups, out) < WORTH_BLOCKS)
    return stacked(pieces, [below(pieces.map((piece) => widened(piece, out)))]);
  return stacked(
    inBlocks,
    groups.map((group) => below(group.map(({ b }) => b))),
  );
}

function stacked(pieces: readonly OwnedPiece[], blocks: readonly Matrix[]): Stack {
  const runs = pieces.map(({ adapter, a }) => ({ adapter, ranks: a.rows }));
  return { a: below(pieces.map(({ a }) => a)), blocks, runs };
}

/** Whether the groups, each of pieces over the same columns, cover all columns once. */
function arePartition(groups: readonly (readonly OwnedPiece[])[], out: number): boolean {
  let end = 0;
  for (const group of groups) {
    const [{ start, b }] = group;
    if (start !== end || group.some((piece) => piece.b.cols !== b.cols)) return false;
    end += b.cols;
  }
  return end === out;
}

function zerosOf(groups: readonly (readonly OwnedPiece[])[], out: number): number {
  return groups.flat().reduce((sum, { b }) => sum + b.rows * (out - b.cols), 0);
}

/** A piece over all columns. */
function widened({ b, start }: Piece, out: number): Matrix {
  if (b.cols === out) return b;
  const data = new Float32Array(b.rows * out);
  for (let k = 0; k < b.rows; k++) data.set(b.data.subarray(k * b.cols, (k + 1) * b.cols), k * out + start);
  return { rows: b.rows, cols: out, data };
}

function below(parts: readonly Matrix[]): Matrix {
  if (parts.length === 1) return parts[0];
  const rows = parts.reduce((sum, part) => sum + part.rows, 0);
  return { rows, cols: parts[0].cols, data: joined(parts.map(({ data }) => data)) };
}
