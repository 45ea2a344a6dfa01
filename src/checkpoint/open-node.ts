/**
 * @file A checkpoint from the disk.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, resolve } from 'node:path';
import { checkPath } from '../util/arguments.ts';
import { CheckpointError } from '../util/errors.ts';
import { closestName } from '../util/option-names.ts';
import { type CheckpointFiles, isShardName, noSafetensors } from './checkpoint.ts';
import { fileError, openFileSource } from './file-source-node.ts';
import { checkpointFromFiles, isGgufFile } from './open.ts';
import type { ByteSource, Checkpoint } from './types.ts';

/** How files of models end. */
const ENDING = /\.(gguf|safetensors)$/;

/**
 * Opens a folder that holds a checkpoint (config.json and safetensors, or a GGUF file), a single .safetensors file with
 * its config.json beside it, or a GGUF file of any name. The caller closes it.
 * @param name of the checkpoint, for messages.
 * @throws CheckpointError where there is nothing to open, or what is there is damaged; InputError for what is no path.
 */
export async function openCheckpointFolder(path: string, name = path): Promise<Checkpoint> {
  checkPath('openCheckpointFolder', path);
  const full = resolve(path);
  let isDirectory: boolean;
  try {
    isDirectory = (await stat(full)).isDirectory();
  } catch (cause) {
    throw await missing(path, full, cause);
  }
  if (isDirectory) return checkpointFromFiles(folderFiles(full, name));
  const file = basename(full);
  const files = folderFiles(dirname(full), name);
  if (await isGgufFile(files, file)) return checkpointFromFiles(files, file);
  if (!file.endsWith('.safetensors')) {
    throw new CheckpointError(`${path}: ${otherFormat(file)}`);
  }
  if (isShardName(file)) {
    throw new CheckpointError(`${path}: is one of several shards; open their folder, ${dirname(full)}, instead`);
  }
  return checkpointFromFiles(files, file);
}

/** What to say of a path that can't be looked at; where nothing is there, where that was, and what has nearly its name. */
async function missing(path: string, full: string, cause: unknown): Promise<CheckpointError> {
  const error = fileError(path, cause);
  if ((cause as NodeJS.ErrnoException).code !== 'ENOENT') return error;
  const entries = await readdir(dirname(full), { withFileTypes: true }).catch(() => []);
  const models = entries.filter((entry) => entry.isDirectory() || ENDING.test(entry.name)).map(({ name }) => name);
  // Names that share no more than their ending are not near.
  const near = closestName(
    basename(full).replace(ENDING, ''),
    models.map((name) => name.replace(ENDING, '')),
  );
  const folder = isAbsolute(path) ? '' : ` (looked in ${dirname(full)})`;
  const meant = models.find((name) => name.replace(ENDING, '') === near);
  const hint = meant === undefined ? '' : `; did you mean ${meant}?`;
  return new CheckpointError(`${error.message}${folder}${hint}`, { cause });
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

/** What to say of a file that is no checkpoint. */
const otherFormat = (file: string): string =>
  /\.(bin|pt|pth|ckpt|onnx)$/.test(file) ? noSafetensors([file]) : 'neither a folder nor a .safetensors or GGUF file';
