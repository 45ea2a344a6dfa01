/**
 * @file How much room an installation takes.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** What `du` counts a file in, on most systems: 4 KiB. */
const BLOCK = 4096;
/**
 * What `node_modules` stays below on Linux with an x64 processor, in bytes of the blocks of its files. 58.6 million are
 * measured (bench/NOTES.md).
 */
const LIMIT = 60e6;

/** @returns bytes of the blocks of a folder and all that is in it, whatever the blocks of this file system are. */
export async function installedBytes(folder: string): Promise<number> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const sizes = await Promise.all(
    entries.map(async (entry) => (entry.isFile() ? (await lstat(join(entry.parentPath, entry.name))).size : BLOCK)),
  );
  return sizes.reduce((sum, size) => sum + Math.ceil(size / BLOCK) * BLOCK, BLOCK);
}

/** @throws where an installation is larger than planned. Other platforms have other libraries, and are not compared. */
export async function checkSize(modules: string): Promise<void> {
  if (`${process.platform}-${process.arch}` !== 'linux-x64') return;
  const size = await installedBytes(modules);
  if (size >= LIMIT)
    throw new Error(`${modules}: ${(size / 1e6).toFixed(1)} MB, and less than ${LIMIT / 1e6} is planned`);
}
