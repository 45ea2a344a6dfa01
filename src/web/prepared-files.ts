/**
 * @file Prepared weights in the browser's storage. The manifest is written last, with a hash of samples of every tensor.
 */
import type { PrepareRequest } from '../load/model-plan.ts';
import { WeightsError } from '../util/errors.ts';
import { hashSamples } from '../util/sample.ts';
import { sha256 } from '../util/sha256.ts';
import { scaledBlocks, type WeightCodec } from '../weights/codec.ts';
import { layOut, type WeightLayout } from '../weights/layout.ts';
import { prepareWeights, type WeightProgress } from '../weights/prepare.ts';
import type { PreparedWeights } from '../weights/types.ts';
import { checkQuota, openForWriting, readFile, removeFile, writeAll, writeFile } from './storage.ts';

export interface PreparedFilesOptions {
  readonly folder: FileSystemDirectoryHandle;
  readonly codec?: WeightCodec;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: WeightProgress) => void;
}

/** Finds prepared weights, or makes them. The caller holds the lock. @throws WeightsError where the storage is full. */
export async function openPreparedFiles(
  { specs, format, identity, source }: PrepareRequest,
  { folder, codec = scaledBlocks, signal, onProgress }: PreparedFilesOptions,
): Promise<PreparedWeights> {
  const layout = layOut(specs, codec);
  const description = JSON.stringify({
    codec: codec.id,
    ...{ format, checkpoint: identity, size: layout.size },
    params: specs.map(({ name, shape, format: own, stored }) => `${name} ${stored ?? own} [${shape}]`),
  });
  const key = sha256(description).slice(0, 16);
  const [weights, manifest] = [`weights ${key}`, `weights ${key} manifest`];
  if (!(await isWhole(folder, weights, manifest, description, layout))) {
    await removeFile(folder, manifest);
    await checkQuota('preparing the weights', layout.size - ((await readFile(folder, weights))?.size ?? 0));
    const file = await openForWriting(folder, weights);
    try {
      file.truncate(layout.size);
      const sink = async (bytes: Uint8Array, offset: number) => writeAll(file, bytes, offset);
      await prepareWeights({ specs, source, layout, codec, sink, signal, onProgress });
      file.flush();
    } finally {
      file.close();
    }
    await writeFile(folder, manifest, `${description}\n${await samplesOf(folder, weights, layout)}`);
  }
  return prepared(layout, (await readFile(folder, weights))!);
}

function prepared({ params, size }: WeightLayout, file: File): PreparedWeights {
  const read = async (offset: number, length: number) => {
    try {
      return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
    } catch (cause) {
      throw new WeightsError('the prepared weights are not in the browser’s storage any more; load the model again', {
        cause,
      });
    }
  };
  return { params, size, file: { folder: '', name: 'weights' }, read };
}

async function samplesOf(folder: FileSystemDirectoryHandle, name: string, layout: WeightLayout): Promise<string> {
  const { read } = prepared(layout, (await readFile(folder, name))!);
  return hashSamples({ read: read! }, [...layout.params.values()], true);
}

async function isWhole(
  folder: FileSystemDirectoryHandle,
  weights: string,
  manifest: string,
  description: string,
  layout: WeightLayout,
): Promise<boolean> {
  const text = await (await readFile(folder, manifest))?.text();
  if (!text?.startsWith(`${description}\n`)) return false;
  if ((await readFile(folder, weights))?.size !== layout.size) return false;
  return text === `${description}\n${await samplesOf(folder, weights, layout)}`;
}
