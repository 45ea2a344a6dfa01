/**
 * @file Checkpoint files on disk, read whole, changed and written again.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { safetensorsFile, type TestTensor } from './safetensors-bytes.ts';

/** All tensors of a small file, as they lie in it. */
export async function readTensors(path: string): Promise<Record<string, TestTensor>> {
  const file = await readFile(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header: Record<string, { dtype: TestTensor['dtype']; shape: number[]; data_offsets: [number, number] }> =
    JSON.parse(file.subarray(8, start).toString());
  delete header.__metadata__;
  return Object.fromEntries(
    Object.entries(header).map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [from, to],
        },
      ]) => [name, { dtype, shape, bytes: new Uint8Array(file.subarray(start + from, start + to)) }],
    ),
  );
}

export async function writeTensors(path: string, tensors: Record<string, TestTensor>): Promise<void> {
  await writeFile(path, safetensorsFile(tensors));
}

/** The values of a float32 tensor, which are those of its bytes: writing to them changes the tensor. */
export function floatsOf({ bytes }: TestTensor): Float32Array {
  return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
}
