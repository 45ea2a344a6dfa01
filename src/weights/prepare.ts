/**
 * @file Makes the prepared weights: reads each parameter's rows in pieces, quantizes them, and hands the bytes on. At no
 * time is more than one piece in memory.
 */

import type { BlockRows } from '../checkpoint/types.ts';
import { PIECE_VALUES } from '../util/numbers.ts';
import { scaledBlocks, type WeightCodec } from './codec.ts';
import { areScalesFinite } from './finite-blocks.ts';
import type { WeightLayout } from './layout.ts';
import type { ParamSpec, RowSource } from './types.ts';

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
  readonly onProgress?: (progress: WeightProgress) => void;
  /** Called when all bytes of a parameter were given to the sink. */
  readonly onParam?: () => Promise<void>;
  readonly signal?: AbortSignal;
}

/** @throws what the source or the sink throws, or the signal's reason. */
export async function prepareWeights<S extends ParamSpec>(options: PrepareOptions<S>): Promise<void> {
  const { specs, layout, codec = scaledBlocks, source, sink, onProgress, onParam, signal } = options;
  const total = layout.size;
  let done = 0;
  for (const spec of specs) {
    const from = source(spec);
    const parts = codec.parts(spec);
    const kept = spec.stored === undefined ? undefined : from.blocks;
    const { rows, cols } = from; // a plain parameter's pieces may be columns of what its shape says
    const { arrangedRows = 1 } = codec;
    const step = Math.max(1, Math.floor(PIECE_VALUES / cols / arrangedRows)) * arrangedRows;
    for (let start = 0; start < rows; start += step) {
      signal?.throwIfAborted();
      const count = Math.min(step, rows - start);
      const encoded = kept
        ? [await finiteBlocks(kept, from, start, count)]
        : await codec.encode(spec, await from.read(start, count), count, cols);
      for (const [i, { name }] of parts.entries()) {
        const { offset, length } = layout.params.get(name)!;
        const bytes = codec.arrange?.(spec, encoded[i], count, cols) ?? encoded[i];
        await sink(bytes, offset + start * (length / rows));
        done += encoded[i].byteLength;
      }
      onProgress?.({ bytes: Math.min(done, total), total });
    }
    await onParam?.();
  }
}

/** Rows as they are stored. @throws CheckpointError where a value is not finite. */
async function finiteBlocks(kept: BlockRows, from: RowSource, start: number, count: number): Promise<Uint8Array> {
  const bytes = await kept.read(start, count);
  // Reading the values checks them, and says which one is wrong.
  if (!areScalesFinite(kept.format, bytes)) await from.read(start, count);
  return bytes;
}
