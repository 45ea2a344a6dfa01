/**
 * @file Prepared weights in the browser's storage, made while a checkpoint is downloaded. The manifest is written last,
 * with a hash of samples of every tensor; until then a note says where to go on.
 */
import type { PrepareRequest } from '../load/model-plan.ts';
import { WeightsError } from '../util/errors.ts';
import type { WeightCodec } from '../weights/codec.ts';
import type { WeightLayout } from '../weights/prepared/layout.ts';
import { WeightsManifest } from '../weights/prepared/manifest.ts';
import { prepareWeights } from '../weights/prepared/prepare.ts';
import type { PreparedWeights } from '../weights/types.ts';
import {
  checkQuota,
  openForWriting,
  readFile,
  readJson,
  removeFile,
  resize,
  type SyncFile,
  writeAll,
  writeFile,
} from './storage.ts';
import { manifestName } from './stored-models.ts';
import type { DownloadPoints, WeightDownload } from './weight-download.ts';

export interface PreparedFilesOptions {
  readonly folder: FileSystemDirectoryHandle;
  readonly codec: WeightCodec;
  readonly signal?: AbortSignal;
  readonly download: WeightDownload;
  /** What is known of the files of the checkpoint without reading them. */
  readonly outlines: { save(): Promise<void>; remove(): Promise<void> };
}

/** How far an unfinished file is. */
interface Unfinished {
  /** Parameters that are complete, in the order of the download. */
  readonly params: number;
  readonly points: DownloadPoints;
}

/** Bytes of the download after which its state is written again: what a tab that is closed can lose. */
const saveEvery = (total: number): number => Math.max(2 << 20, Math.floor(total / 64));

/**
 * Finds prepared weights, or makes them. The caller holds the lock.
 * @throws WeightsError where the storage is full; HubError.
 */
export async function openPreparedFiles(
  request: PrepareRequest,
  options: PreparedFilesOptions,
): Promise<PreparedWeights> {
  const { folder, codec } = options;
  const manifest = new WeightsManifest({ ...request, codec });
  const { layout } = manifest;
  const names = namesOf(manifest.key);
  const text = await (await readFile(folder, names.manifest))?.text();
  const there = await readFile(folder, names.weights);
  if (!text || !there || !(await manifest.matches(text, there.size, readerOf(there)))) {
    await removeFile(folder, names.manifest);
    await checkQuota('preparing the weights', layout.size - (there?.size ?? 0));
    await write(request, options, layout, names);
    const written = (await readFile(folder, names.weights))!;
    await writeFile(folder, names.manifest, await manifest.textOf(readerOf(written)));
    await removeFile(folder, names.unfinished);
  }
  const read = readerOf((await readFile(folder, names.weights))!);
  return { ...layout, file: { folder: '', name: 'weights' }, read };
}

const namesOf = (key: string) => ({
  weights: `weights ${key}`,
  manifest: manifestName(key),
  unfinished: `weights ${key} unfinished`,
});
type Names = ReturnType<typeof namesOf>;

async function write(
  request: PrepareRequest,
  { folder, codec, signal, download, outlines }: PreparedFilesOptions,
  layout: WeightLayout,
  names: Names,
): Promise<void> {
  const specs = download.order(request);
  const file = await openForWriting(folder, names.weights);
  try {
    let params = await resume(folder, names, file, layout, download);
    let saved = download.bytes;
    const save = async () => {
      const { points } = download;
      if (!points) return;
      saved = download.bytes;
      file.flush();
      await outlines.save();
      await writeFile(folder, names.unfinished, JSON.stringify({ params, points } satisfies Unfinished));
    };
    try {
      await prepareWeights({
        ...{ layout, codec, signal, source: request.source },
        specs: specs.slice(params),
        sink: async (bytes, offset) => writeAll(file, bytes, offset),
        onParam: async () => {
          download.complete();
          params++;
          if (download.bytes - saved >= saveEvery(download.size)) await save();
        },
      });
      await download.finish();
    } catch (error) {
      // Where the storage is full this fails, too; what was saved before counts then.
      if (!download.isWrong) await save().catch(() => undefined);
      throw error;
    }
    file.flush();
    await outlines.save();
  } finally {
    file.close();
    if (download.isWrong) {
      for (const name of [names.unfinished, names.weights]) await removeFile(folder, name);
      await outlines.remove();
    }
  }
}

/** How many parameters are complete already. */
async function resume(
  folder: FileSystemDirectoryHandle,
  names: Names,
  file: SyncFile,
  layout: WeightLayout,
  download: WeightDownload,
): Promise<number> {
  const unfinished = await readJson<Unfinished>(folder, names.unfinished);
  if (unfinished && file.getSize() === layout.size && download.resume(unfinished.points)) return unfinished.params;
  await removeFile(folder, names.unfinished);
  resize(file, layout.size);
  return 0;
}

const readerOf = (file: File) => async (offset: number, length: number) => {
  try {
    return new Uint8Array(await file.slice(offset, offset + length).arrayBuffer());
  } catch (cause) {
    throw new WeightsError("the prepared weights are not in the browser's storage any more; load the model again", {
      cause,
    });
  }
};
