/**
 * @file The browser's private files (OPFS): folders, files that are written in pieces, and what is free.
 */
import { WeightsError } from '../util/errors.ts';

/** What workers have of a file that is written in place. */
export interface SyncFile {
  read(bytes: Uint8Array, at: { readonly at: number }): number;
  write(bytes: Uint8Array, at: { readonly at: number }): number;
  truncate(size: number): void;
  getSize(): number;
  flush(): void;
  close(): void;
}

const ROOT = 'keyhold';
const MAKE_ROOM = 'delete stored models (deleteStoredModel), or free space on the disk';

/** @throws WeightsError where the browser has no private files for this page. */
export async function openFolder(...path: readonly string[]): Promise<FileSystemDirectoryHandle> {
  try {
    let folder = await navigator.storage.getDirectory();
    for (const name of [ROOT, ...path]) folder = await folder.getDirectoryHandle(name, { create: true });
    return folder;
  } catch (cause) {
    if ((cause as DOMException).name === 'QuotaExceededError')
      throw new WeightsError(`the browser's storage is full; ${MAKE_ROOM}`, { cause });
    throw new WeightsError(
      `the browser gives this page no storage (${(cause as Error).message}); private windows may have none, and pages ` +
        'must come over https or from localhost',
      { cause },
    );
  }
}

/** The file, or null where there is none. */
export async function readFile(folder: FileSystemDirectoryHandle, name: string): Promise<File | null> {
  try {
    return await (await folder.getFileHandle(name)).getFile();
  } catch {
    return null;
  }
}

export async function readJson<T>(folder: FileSystemDirectoryHandle, name: string): Promise<T | null> {
  const file = await readFile(folder, name);
  try {
    return file && (JSON.parse(await file.text()) as T);
  } catch {
    // Torn: it was not written to its end.
    return null;
  }
}

/** Opens a file for writing; only a worker can. No other tab can open it at the same time. */
export async function openForWriting(folder: FileSystemDirectoryHandle, name: string): Promise<SyncFile> {
  const handle = (await folder.getFileHandle(name, { create: true })) as FileSystemFileHandle & {
    createSyncAccessHandle(): Promise<SyncFile>;
  };
  return handle.createSyncAccessHandle();
}

export async function writeFile(
  folder: FileSystemDirectoryHandle,
  name: string,
  content: string | Uint8Array,
): Promise<void> {
  const file = await openForWriting(folder, name);
  try {
    file.truncate(0);
    writeAll(file, typeof content === 'string' ? new TextEncoder().encode(content) : content, 0);
    file.flush();
  } finally {
    file.close();
  }
}

/** @throws WeightsError where the storage is full. */
export function writeAll(file: SyncFile, bytes: Uint8Array, at: number): void {
  let written = 0;
  try {
    written = file.write(bytes, { at });
  } catch (cause) {
    throw new WeightsError(full(bytes.length), { cause });
  }
  if (written !== bytes.length) throw new WeightsError(full(bytes.length));
}

/** @throws WeightsError where the storage is full. */
export function resize(file: SyncFile, size: number): void {
  try {
    file.truncate(size);
  } catch (cause) {
    throw new WeightsError(full(size), { cause });
  }
}

export async function removeFile(folder: FileSystemDirectoryHandle, name: string): Promise<void> {
  await folder.removeEntry(name, { recursive: true }).catch(() => undefined);
}

/** @throws WeightsError where the browser does not leave so many bytes to this page. */
export async function checkQuota(what: string, bytes: number): Promise<void> {
  const { quota, usage } = await navigator.storage.estimate();
  if (quota === undefined || usage === undefined || bytes <= quota - usage) return;
  throw new WeightsError(
    `${what} takes ${megabytes(bytes)}, but the browser leaves this page ${megabytes(Math.max(0, quota - usage))}; ${MAKE_ROOM}`,
  );
}

const full = (bytes: number) =>
  `the browser's storage is full: ${bytes} bytes could not be written; what was downloaded is kept`;
const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
