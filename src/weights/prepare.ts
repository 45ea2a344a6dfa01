/**
 * @file Makes the prepared weights: reads each parameter's rows in pieces, quantises them, and hands the bytes on. At no
 * time is more than one piece in memory.
 */
import { FORMAT_BITS, scaleName, type WeightLayout } from './layout.ts';
import { blockBytes, QUANT_BLOCK, quantiseRows } from './quantise.ts';
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
  readonly source: (spec: S) => RowSource;
  readonly sink: ByteSink;
  readonly onProgress?: (progress: WeightProgress) => void;
  readonly signal?: AbortSignal;
}

/** Values of one piece: 16 MB of float32. */
const PIECE = 2 ** 22;

/** @throws what the source or the sink throws, or the signal's reason. */
export async function prepareWeights<S extends ParamSpec>(options: PrepareOptions<S>): Promise<void> {
  const { specs, layout, source, sink, onProgress, signal } = options;
  const total = layout.size;
  let done = 0;
  for (const spec of specs) {
    const from = source(spec);
    const { rows, cols } = from; // a plain parameter's pieces may be columns of what its shape says
    const step = Math.max(1, Math.floor(PIECE / cols));
    for (let start = 0; start < rows; start += step) {
      signal?.throwIfAborted();
      const count = Math.min(step, rows - start);
      const values = await from.read(start, count);
      for (const [name, bytes] of stored(spec, values, count, cols)) {
        const place = layout.params.get(name)!;
        await sink(bytes, place.offset + start * (place.length / rows));
        done += bytes.byteLength;
      }
      onProgress?.({ bytes: Math.min(done, total), total });
    }
  }
}

/** The pieces of a parameter as they are stored, by name. */
function stored(spec: ParamSpec, values: Float32Array, rows: number, cols: number): [string, Uint8Array][] {
  if (spec.format === 'float32') return [[spec.name, bytesOf(values)]];
  const bits = FORMAT_BITS[spec.format];
  const blocks = rows * Math.ceil(cols / QUANT_BLOCK);
  const packed = new Uint8Array(blocks * blockBytes(bits));
  const scales = new Float32Array(blocks);
  quantiseRows(values, rows, cols, bits, packed, scales);
  return [
    [spec.name, packed],
    [scaleName(spec.name), bytesOf(scales)],
  ];
}

function bytesOf(values: Float32Array): Uint8Array {
  return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
}
