/**
 * @file Checks of files and folders that a command is to write, before it begins to work.
 */
import { dirname, resolve } from 'node:path';
import { isFolder, makeFolder } from '../../util/files/files-node.ts';
import { UsageError } from '../failure.ts';

/** @throws UsageError where a file could not be written at the end. */
export async function checkTarget(flag: string, file: string): Promise<void> {
  const folder = dirname(resolve(file));
  if (!(await isFolder(folder))) throw new UsageError(`${flag} ${file}: there is no folder ${folder}`);
  await checkNoFolder(flag, file);
}

/** @throws UsageError for a folder where a file is wanted. */
export async function checkNoFolder(flag: string, file: string): Promise<void> {
  if (await isFolder(file)) throw new UsageError(`${flag} ${file} is a folder: name a file`);
}

/** Why a folder can't be made. */
const NO_FOLDER: Readonly<Record<string, string>> = {
  EEXIST: 'there is a file of this name',
  ENOTDIR: 'a part of the path is a file',
  EACCES: 'no permission to write there',
  EROFS: 'the disk can only be read',
};

/**
 * Makes the folder that an option wants.
 * @param option the option with its value, such as `-o FILE`.
 * @throws UsageError for one that can't be made.
 */
export async function makeFolderFor(option: string, folder: string, mode?: number): Promise<void> {
  await makeFolder(folder, mode).catch((cause: NodeJS.ErrnoException) => {
    const why = NO_FOLDER[cause.code ?? ''] ?? cause.message;
    throw new UsageError(`${option}: the folder ${folder} can't be made: ${why}`, { cause });
  });
}
