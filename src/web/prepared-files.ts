/**
 * @file Prepared weights in the browser's storage. The manifest is written last, with a hash of samples of every tensor.
 */
import type { PrepareRequest } from '../load/model-plan.ts';
import { WeightsError } from '../util/errors.ts';
import { scaledBlocks, type WeightCodec } from '../weights/codec.ts';
import { layOut } from '../weights/layout.ts';
import { WeightsManifest } from '../weights/manifest.ts';
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
  request: PrepareRequest,
  { folder, codec = scaledBlocks, signal, onProgress }: PreparedFilesOptions,
): Promise<PreparedWeights> {
  const { specs, source } = request;
  const layout = layOut(specs, codec);
  const manifest = new WeightsManifest({ ...request, codec }, layout);
  const names = { weights: `weights ${manifest.key}`, manifest: `weights ${manifest.key} manifest` };
  const text = await (await readFile(folder, names.manifest))?.text();
  const there = await readFile(folder, names.weights);
  if (!text || !there || !(await manifest.matches(text, there.size, readerOf(there)))) {
    await removeFile(folder, names.manifest);
    await checkQuota('preparing the weights', layout.size - (there?.size ?? 0));
    const file = await openForWriting(folder, names.weights);
    try {
      file.truncate(layout.size);
      const sink = async (bytes: Uint8Array, offset: number) => writeAll(file, bytes, offset);
      await prepareWeights({ specs, source, layout, codec, sink, signal, onProgress });
      file.flush();
    } finally {
      file.close();
    }
    const written = (await readFile(folder, names.weights))!;
    await writeFile(folder, names.manifest, await manifest.textOf(readerOf(written)));
  }
  const { params, size } = layout;
  const read = readerOf((await readFile(folder, names.weights))!);
  return { params, size, file: { folder: '', name: 'weights' }, read };
}

const readerOf = (file: File) => async (offset: number, length: number) => {
  try {
    return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
  } catch (cause) {
    throw new WeightsError('the prepared weights are not in the browser’s storage any more; load the model again', {
      cause,
    });
  }
};
