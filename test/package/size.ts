/**
 * @file How much room an installation takes.
 */
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** What `du` counts a file in, on most systems: 4 KiB. */
const BLOCK = 4096;
/**
 * The most that `node_modules` may take on Linux with an x64 processor, in MiB as `du -sm` says. 78.3 are measured, of
 * which 48 are ggml for x64 and for ARM: npm installs both (docs/troubleshooting.md).
 */
const MOST_MIB = 79;

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
  const size = (await installedBytes(modules)) / 2 ** 20;
  if (size > MOST_MIB) throw new Error(`${modules}: ${size.toFixed(1)} MiB, and ${MOST_MIB} at most are planned`);
}
