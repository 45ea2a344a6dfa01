/**
 * @file Writes safetensors files: the header first, then the tensors' bytes as they come. Large sets go to several
 * files with an index, as Hugging Face libraries lay them out.
 */
import { type FileHandle, open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DTYPE_BYTES } from '../util/dtypes.ts';
import { SHARD_INDEX_FILE } from './shard-index.ts';
import type { StoredDtype } from './types.ts';

/** A tensor to be written. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: StoredDtype;
  readonly shape: readonly number[];
  /** Its bytes from the first to the last, in pieces. */
  bytes(): AsyncIterable<Uint8Array>;
}

export interface WriteOptions {
  /** Most bytes of one file, unless a single tensor has more. */
  readonly maxShardBytes: number;
  /** Told of the bytes that are written. */
  readonly onProgress?: (bytes: number) => void;
  readonly signal?: AbortSignal;
}

export function tensorBytes({ dtype, shape }: Pick<TensorToWrite, 'dtype' | 'shape'>): number {
  return shape.reduce((a, b) => a * b, DTYPE_BYTES[dtype]);
}

/**
 * Writes tensors into a folder: `model.safetensors`, or shards and their index.
 * @throws what the file system or the tensors throw; files may then be incomplete.
 */
export async function writeSafetensors(
  folder: string,
  tensors: readonly TensorToWrite[],
  options: WriteOptions,
): Promise<void> {
  const shards = inShards(tensors, options.maxShardBytes);
  const name = (i: number) =>
    shards.length === 1 ? 'model.safetensors' : `model-${number(i + 1)}-of-${number(shards.length)}.safetensors`;
  for (const [i, shard] of shards.entries()) await writeFileOf(join(folder, name(i)), shard, options);
  if (shards.length === 1) return;
  const total = tensors.reduce((sum, tensor) => sum + tensorBytes(tensor), 0);
  const map = shards.flatMap((shard, i) => shard.map((tensor) => [tensor.name, name(i)] as const));
  const index = { metadata: { total_size: total }, weight_map: Object.fromEntries(map) };
  await writeFile(join(folder, SHARD_INDEX_FILE), `${JSON.stringify(index, null, 2)}\n`, { flush: true });
}

const number = (n: number): string => String(n).padStart(5, '0');

function inShards(tensors: readonly TensorToWrite[], most: number): TensorToWrite[][] {
  const shards: TensorToWrite[][] = [[]];
  let size = 0;
  for (const tensor of tensors) {
    const bytes = tensorBytes(tensor);
    if (size > 0 && size + bytes > most) {
      shards.push([]);
      size = 0;
    }
    shards[shards.length - 1].push(tensor);
    size += bytes;
  }
  return shards;
}

async function writeFileOf(path: string, tensors: readonly TensorToWrite[], options: WriteOptions): Promise<void> {
  const file = await open(path, 'w');
  try {
    await writeAll(file, header(tensors));
    for (const tensor of tensors) {
      let written = 0;
      for await (const bytes of tensor.bytes()) {
        options.signal?.throwIfAborted();
        await writeAll(file, bytes);
        written += bytes.byteLength;
        options.onProgress?.(bytes.byteLength);
      }
      if (written !== tensorBytes(tensor))
        throw new Error(`${tensor.name}: ${written} bytes were given, but its shape takes ${tensorBytes(tensor)}`);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The length of the header and the header, filled up with spaces so that the tensors start at a multiple of 8. */
function header(tensors: readonly TensorToWrite[]): Uint8Array {
  const entries: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let at = 0;
  for (const tensor of tensors) {
    const end = at + tensorBytes(tensor);
    entries[tensor.name] = { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [at, end] };
    at = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(entries));
  const length = Math.ceil(text.length / 8) * 8;
  const out = new Uint8Array(8 + length).fill(0x20);
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true);
  out.set(text, 8);
  return out;
}

async function writeAll(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength; ) at += (await file.write(bytes, at, bytes.byteLength - at)).bytesWritten;
}
