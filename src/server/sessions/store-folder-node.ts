/**
 * @file Sessions' caches in a folder, a file each. Several servers may share it.
 */
import { readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { checkPath } from '../../util/arguments.ts';
import { makeFolder, writeWhole } from '../../util/files/files-node.ts';
import type { SessionStore } from './sessions.ts';

const END = '.khc';
const DEFAULT_BYTES = 10 * 2 ** 30;

/**
 * Keeps sessions' caches in a folder, one file each.
 * @param folder is made where it is missing; only its owner may read it.
 * @param mostBytes largest size of all files together; those that were used least recently are removed. @default 10 GiB
 * @throws InputError for what is no path.
 */
export function folderStore(folder: string, mostBytes = DEFAULT_BYTES): SessionStore {
  checkPath('folderStore', folder);
  const pathOf = (name: string) => join(folder, `${name}${END}`);
  const version = async (name: string): Promise<string | null> => {
    const found = await orNull(stat(pathOf(name), { bigint: true }));
    return found && `${found.mtimeNs}-${found.size}-${found.ino}`;
  };
  return {
    version,
    async save(name, bytes) {
      await makeFolder(folder, 0o700);
      await writeWhole(pathOf(name), bytes);
      await limit(folder, mostBytes, `${name}${END}`);
      return version(name);
    },
    async load(name) {
      return orNull(readFile(pathOf(name)));
    },
  };
}

/** null: there is no such file. */
async function orNull<T>(result: Promise<T>): Promise<T | null> {
  try {
    return await result;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

/** @param saved just now. */
async function limit(folder: string, mostBytes: number, saved: string): Promise<void> {
  const files: { readonly path: string; readonly size: number; readonly used: number; readonly isNew: boolean }[] = [];
  for (const name of await readdir(folder)) {
    if (!name.endsWith(END)) continue;
    const path = join(folder, name);
    const found = await orNull(stat(path));
    if (found)
      files.push({ path, size: found.size, used: Math.max(found.atimeMs, found.mtimeMs), isNew: name === saved });
  }
  let bytes = files.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size, isNew } of files.sort((a, b) => a.used - b.used)) {
    if (bytes <= mostBytes) return;
    if (isNew) continue;
    await rm(path, { force: true });
    bytes -= size;
  }
}
