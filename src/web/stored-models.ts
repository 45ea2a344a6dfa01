/**
 * @file The models in the browser's storage: what there is, and how it is deleted.
 */
import { InputError } from '../util/errors.ts';
import { openFolder, readJson } from './storage.ts';

/** What the storage says of a model; written when all of its files but the weights have come. */
export interface ModelNote {
  /** As it was asked for: `org/name`, or `org/name:Q4_K_M`. */
  readonly hub: string;
  readonly commit: string;
  /** Files of the checkpoint. */
  readonly files: readonly { readonly path: string; readonly size: number; readonly etag: string }[];
}

export const NOTE_FILE = 'model.json';
/** The name of the file that says that the weights `key` are complete. */
export const manifestName = (key: string): string => `weights ${key} manifest`;
const isManifest = (name: string): boolean => /^weights \w+ manifest$/.test(name);
const MODELS = 'models';

/** A model in the browser's storage. */
export interface StoredModel {
  /** As it was asked for: `org/name`, or `org/name:Q4_K_M`. */
  readonly hub: string;
  /** The commit on the hub; null: its download has not ended. */
  readonly commit: string | null;
  /** Bytes that it takes. */
  readonly bytes: number;
}

/** A folder for each model; slashes are no part of a name. */
const folderName = (hub: string): string => encodeURIComponent(hub);

export const openModelFolder = (hub: string): Promise<FileSystemDirectoryHandle> => openFolder(MODELS, folderName(hub));

/** Removes the folder of a model of which nothing is stored. */
export async function removeEmptyFolder(hub: string): Promise<void> {
  const models = await openFolder(MODELS);
  await models.removeEntry(folderName(hub)).catch(() => undefined);
}

/** Held while files are written. */
export const writeLock = (hub: string): string => `keyhold write ${hub}`;
/** Shared by all workers that read the files. */
export const useLock = (hub: string): string => `keyhold use ${hub}`;

/** The models in the browser's storage, those included whose download was broken off. */
export async function storedModels(): Promise<StoredModel[]> {
  const models: StoredModel[] = [];
  for await (const [name, handle] of entriesOf(await openFolder(MODELS))) {
    if (handle.kind !== 'directory') continue;
    const folder = handle as FileSystemDirectoryHandle;
    let bytes = 0;
    let isWhole = false;
    for await (const [name, file] of entriesOf(folder)) {
      if (file.kind === 'file') bytes += (await (file as FileSystemFileHandle).getFile()).size;
      isWhole ||= isManifest(name);
    }
    const note = await readJson<ModelNote>(folder, NOTE_FILE);
    models.push({ hub: decodeURIComponent(name), commit: (isWhole && note?.commit) || null, bytes });
  }
  return models.sort((a, b) => (a.hub < b.hub ? -1 : 1));
}

/**
 * @throws InputError where there is no such model, and while it is loaded or downloaded, in this tab or another one.
 */
export async function deleteStoredModel(hub: string): Promise<void> {
  const models = await openFolder(MODELS);
  const exclusive = async (lock: string, run: () => Promise<void>) =>
    navigator.locks.request(lock, { ifAvailable: true }, async (held) => {
      if (!held) throw new InputError(`${hub} is in use, in this tab or another one: dispose of the model first`);
      await run();
    });
  await exclusive(writeLock(hub), () =>
    exclusive(useLock(hub), async () => {
      try {
        await models.removeEntry(folderName(hub), { recursive: true });
      } catch (cause) {
        if ((cause as DOMException).name !== 'NotFoundError') throw cause;
        throw new InputError(
          `there is no model ${JSON.stringify(hub)} in the browser's storage; storedModels() lists them`,
        );
      }
    }),
  );
}

/** lib.dom.d.ts does not know it yet. */
const entriesOf = (folder: FileSystemDirectoryHandle) =>
  folder as unknown as AsyncIterable<[string, FileSystemDirectoryHandle | FileSystemFileHandle]>;
