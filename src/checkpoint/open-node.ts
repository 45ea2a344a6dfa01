/**
 * @file A checkpoint from the disk.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { CheckpointError } from '../util/errors.ts';
import { type CheckpointFiles, isShardName, noSafetensors } from './checkpoint.ts';
import { fileError, openFileSource } from './file-source-node.ts';
import { checkpointFromFiles, isGgufFile } from './open.ts';
import type { ByteSource, Checkpoint } from './types.ts';

/**
 * Opens a folder that holds a checkpoint (config.json and safetensors, or a GGUF file), a single .safetensors file with
 * its config.json beside it, or a GGUF file of any name. The caller closes it.
 * @param name of the checkpoint, for messages.
 * @throws CheckpointError where there is nothing to open, or what is there is damaged.
 */
export async function openCheckpointFolder(path: string, name = path): Promise<Checkpoint> {
  const full = resolve(path);
  let isDirectory: boolean;
  try {
    isDirectory = (await stat(full)).isDirectory();
  } catch (cause) {
    throw fileError(path, cause);
  }
  if (isDirectory) return checkpointFromFiles(folderFiles(full, name));
  const file = basename(full);
  const files = folderFiles(dirname(full), name);
  if (await isGgufFile(files, file)) return checkpointFromFiles(files, file);
  if (!file.endsWith('.safetensors')) {
    const hint = /\.(bin|pt|pth|ckpt)$/.test(file)
      ? noSafetensors([file])
      : 'neither a folder nor a .safetensors or GGUF file';
    throw new CheckpointError(`${path}: ${hint}`);
  }
  if (isShardName(file)) {
    throw new CheckpointError(`${path}: is one of several shards; open their folder, ${dirname(full)}, instead`);
  }
  return checkpointFromFiles(files, file);
}

/** The files of a folder. @param name for messages. */
export function folderFiles(folder: string, name: string): CheckpointFiles {
  return {
    name,
    async list(): Promise<string[]> {
      try {
        return await readdir(folder);
      } catch (cause) {
        throw fileError(folder, cause);
      }
    },
    async open(file: string): Promise<ByteSource | undefined> {
      try {
        return await openFileSource(join(folder, file));
      } catch (error) {
        // A dangling link, as an interrupted download leaves it, counts as missing too.
        const cause = error instanceof CheckpointError ? error.cause : undefined;
        if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
        throw error;
      }
    },
  };
}
