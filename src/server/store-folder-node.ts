/**
 * @file Sessions' caches in a folder, a file each.
 */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeWhole } from '../util/files-node.ts';
import type { SessionStore } from './sessions.ts';

/** @param folder is made where it is missing; only its owner may read it. */
export function folderStore(folder: string): SessionStore {
  const pathOf = (name: string) => join(folder, `${name}.khc`);
  return {
    async save(name, bytes) {
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeWhole(pathOf(name), bytes);
    },
    async load(name) {
      try {
        return await readFile(pathOf(name));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
        throw error;
      }
    },
  };
}
