/**
 * @file Makes the prepared weights: reads each parameter's rows in pieces, quantizes them, and hands the bytes on. At
 * no time is more than one piece in memory, or several small ones of the size of one.
 */
import { PIECE_VALUES } from '../../util/numbers.ts';
import { scaledBlocks, type WeightCodec } from '../codec.ts';
import { areScalesFinite } from '../formats/finite-blocks.ts';
import type { ParamSpec, RowSource } from '../types.ts';
import type { WeightLayout } from './layout.ts';

const FLOAT_BYTES = Float32Array.BYTES_PER_ELEMENT;

/** Takes bytes at an offset, in any order. The bytes may be overwritten as soon as the promise is fulfilled. */
export type ByteSink = (bytes: Uint8Array, offset: number) => Promise<void>;

export interface WeightProgress {
  /** Bytes that are ready. */
  readonly bytes: number;
  readonly total: number;
}

export interface PrepareOptions<S extends ParamSpec> {
  readonly specs: readonly S[];
  readonly layout: WeightLayout;
  /** @default scaledBlocks */
  readonly codec?: WeightCodec;
  readonly source: (spec: S) => RowSource;
  readonly sink: ByteSink;
  /** Whether small parameters are read at the same time. @default false: in their order, as a download brings them */
  readonly readsTogether?: boolean;
  readonly onProgress?: (progress: WeightProgress) => void;
  /** Called when all bytes of a parameter were given to the sink. */
  readonly onParam?: () => Promise<void>;
  readonly signal?: AbortSignal;
}

/** @throws what the source or the sink throws, or the signal's reason. */
export async function prepareWeights<S extends ParamSpec>(options: PrepareOptions<S>): Promise<void> {
  const { layout, codec = scaledBlocks, sink, onProgress, onParam, signal } = options;
  const total = layout.size;
  let done = 0;
  for (const pieces of groupsOf(options)) {
    signal?.throwIfAborted();
    const read = await Promise.all(pieces.map(readPiece));
    for (const [n, { spec, from, start, count, isLast }] of pieces.entries()) {
      signal?.throwIfAborted();
      const { rows, cols } = from;
      const own = read[n];
      const encoded = own instanceof Uint8Array ? [own] : await codec.encode(spec, own, count, cols);
      const arranged = codec.arrange?.(spec, encoded[0], count, cols) ?? encoded;
      for (const [i, { name }] of codec.parts(spec).entries()) {
        const { offset, length } = layout.params.get(name)!;
        await sink(arranged[i], offset + start * (length / rows));
        done += arranged[i].byteLength;
      }
      onProgress?.({ bytes: Math.min(done, total), total });
      if (isLast) await onParam?.();
    }
  }
}

/** Some rows of a parameter. */
interface Piece<S> {
  readonly spec: S;
  readonly from: RowSource;
  readonly start: number;
  readonly count: number;
  /** Of the parameter's. */
  readonly isLast: boolean;
}

/**
 * All rows in pieces, in their order; pieces that are read at the same time are a group. A read of a small parameter
 * takes as long as the way to a thread and back.
 */
function* groupsOf<S extends ParamSpec>(options: PrepareOptions<S>): Generator<readonly Piece<S>[]> {
  const { specs, source, codec: { arrangedRows = 1 } = scaledBlocks, readsTogether = false } = options;
  let pieces: Piece<S>[] = [];
  /** Bytes that they take in memory. */
  let size = 0;
  for (const spec of specs) {
    const from = source(spec);
    const { rows, cols } = from; // a plain parameter's pieces may be columns of what its shape says
    const step = Math.max(1, Math.floor(PIECE_VALUES / cols / arrangedRows)) * arrangedRows;
    const rowBytes = keptBlocks(spec, from)?.rowBytes ?? FLOAT_BYTES * cols;
    for (let start = 0; start < rows; start += step) {
      const count = Math.min(step, rows - start);
      if (pieces.length > 0 && !(readsTogether && size + count * rowBytes <= FLOAT_BYTES * PIECE_VALUES)) {
        yield pieces;
        pieces = [];
        size = 0;
      }
      pieces.push({ spec, from, start, count, isLast: start + count === rows });
      size += count * rowBytes;
    }
  }
  if (pieces.length > 0) yield pieces;
}

/** The blocks of a parameter that stays as it is stored. */
const keptBlocks = ({ stored }: ParamSpec, { blocks }: RowSource) => (stored === undefined ? undefined : blocks);

/** Values, or blocks of rows that stay as they are stored. @throws CheckpointError where a value is not finite. */
async function readPiece<S extends ParamSpec>({
  spec,
  from,
  start,
  count,
}: Piece<S>): Promise<Float32Array | Uint8Array> {
  const kept = keptBlocks(spec, from);
  if (!kept) return from.read(start, count);
  const bytes = await kept.read(start, count);
  // Reading the values checks them, and says which one is wrong.
  if (!areScalesFinite(kept.format, bytes)) await from.read(start, count);
  return bytes;
}
