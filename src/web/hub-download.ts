/**
 * @file Downloads of the small files of a model into the browser's storage. What was broken off goes on from where it
 * was.
 */
import type { HubFile } from '../hub/files.ts';
import type { HubHttp } from '../hub/http.ts';
import { filesOf, fileUrl } from '../hub/listing.ts';
import { fill, type PartialContent, wrongChecksum } from '../hub/transfer.ts';
import { ContentHash } from './content-hash.ts';
import type { ProgressMeter } from './progress.ts';
import { checkQuota, openForWriting, readFile, removeFile, type SyncFile, writeAll } from './storage.ts';

/** A model on the hub, at a commit. */
export interface HubModelId {
  readonly id: string;
  readonly commit: string;
  readonly gguf?: string;
}

/** Paths of a repository may have folders, which the storage has not; a file with other content has another name. */
export const storedName = ({ path, etag }: Omit<HubFile, 'size'>): string =>
  `file ${etag.slice(0, 16)} ${encodeURIComponent(path)}`;

/** The files that a model needs. */
export async function listFiles(
  http: HubHttp,
  folder: FileSystemDirectoryHandle,
  model: HubModelId,
): Promise<readonly HubFile[]> {
  return filesOf(http, model, async (index) => {
    await download(http, folder, model, index, () => {});
    return (await readFile(folder, storedName(index)))!.text();
  });
}

/**
 * Downloads files, as far as they are not there, and tells their bytes.
 * @throws HubError, WeightsError; the signal's reason.
 */
export async function downloadFiles(
  http: HubHttp,
  folder: FileSystemDirectoryHandle,
  model: HubModelId,
  files: readonly HubFile[],
  meter: ProgressMeter,
): Promise<void> {
  const have = new Map<string, number>();
  for (const file of files) have.set(file.path, (await readFile(folder, storedName(file)))?.size ?? 0);
  const missing = files.reduce((sum, { path, size }) => sum + Math.max(0, size - have.get(path)!), 0);
  await checkQuota(`the download of ${model.id}`, missing);
  let done = 0;
  for (const file of files) {
    http.options.signal?.throwIfAborted();
    await download(http, folder, model, file, (bytes) => meter.tell(done + bytes, file.path));
    done += file.size;
  }
}

async function download(
  http: HubHttp,
  folder: FileSystemDirectoryHandle,
  { id, commit }: HubModelId,
  file: HubFile,
  onBytes: (have: number) => void,
): Promise<void> {
  const name = storedName(file);
  const handle = await openForWriting(folder, name);
  let good: boolean;
  try {
    const content = StoredContent.resume(handle, file);
    onBytes(content.have);
    const url = fileUrl(http, id, commit, file.path);
    await fill(http, { url, file, subject: { id, revision: commit, file: file.path }, onBytes }, content);
    handle.flush();
    good = await content.matches();
  } finally {
    handle.close();
  }
  if (good) return;
  await removeFile(folder, name);
  throw wrongChecksum(id, file.path);
}

const PIECE_BYTES = 1 << 20;

/** A file of the storage, as far as it has come, and its checksum. */
class StoredContent implements PartialContent {
  readonly size: number;
  have = 0;
  readonly #handle: SyncFile;
  readonly #file: HubFile;
  #hash: ContentHash;

  private constructor(handle: SyncFile, file: HubFile) {
    this.#handle = handle;
    this.size = file.size;
    this.#file = file;
    this.#hash = new ContentHash(file);
  }

  /** Takes up what is there; it is read once, for the checksum. */
  static resume(handle: SyncFile, file: HubFile): StoredContent {
    const content = new StoredContent(handle, file);
    const size = handle.getSize();
    if (size > file.size) {
      handle.truncate(0);
      return content;
    }
    const piece = new Uint8Array(Math.min(PIECE_BYTES, size));
    while (content.have < size) {
      const count = handle.read(piece, { at: content.have });
      if (count === 0) break;
      content.#hash.update(piece.subarray(0, count));
      content.have += count;
    }
    return content;
  }

  async append(bytes: Uint8Array): Promise<void> {
    writeAll(this.#handle, bytes, this.have);
    this.#hash.update(bytes);
    this.have += bytes.length;
  }

  async restart(): Promise<void> {
    this.#handle.truncate(0);
    this.have = 0;
    this.#hash = new ContentHash(this.#file);
  }

  matches(): Promise<boolean> {
    return this.#hash.matches();
  }
}
