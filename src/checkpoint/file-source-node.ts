/**
 * @file Random access to a file on disk.
 */
import { constants } from 'node:fs';
import { type FileHandle, open, realpath } from 'node:fs/promises';
import { CheckpointError } from '../util/errors.ts';
import type { ByteSource } from './types.ts';

/** Node refuses single reads of 2 GiB and more. */
const MAX_READ = 1 << 28;

/**
 * Opens `path` for reading in parts. The caller closes it.
 *
 * @throws CheckpointError where the file is missing, a folder, or may not be read.
 */
export async function openFileSource(path: string): Promise<ByteSource> {
  let handle: FileHandle;
  try {
    // Opening a FIFO would wait for its writer; only Windows has no such flag, and no FIFOs.
    handle = await open(path, constants.O_RDONLY | (constants.O_NONBLOCK ?? 0));
  } catch (cause) {
    throw fileError(path, cause);
  }
  try {
    const stats = await handle.stat();
    if (stats.isDirectory()) throw new CheckpointError(`${path}: is a folder, not a file`);
    if (!stats.isFile()) throw new CheckpointError(`${path}: is not a regular file`);
    const full = await realpath(path);
    const stamp = `${full}@${stats.mtimeMs}`;
    const read = reader(handle, path, stats.size);
    return { name: path, size: stats.size, stamp, path: full, read, close: () => handle.close() };
  } catch (cause) {
    await handle.close();
    throw cause instanceof CheckpointError ? cause : fileError(path, cause);
  }
}

function reader(handle: FileHandle, path: string, size: number): ByteSource['read'] {
  return async (offset, length, into) => {
    if (!(offset >= 0 && length >= 0 && offset + length <= size)) {
      throw new CheckpointError(`${path}: ${length} bytes at ${offset} were asked for, but the file has ${size} bytes`);
    }
    const bytes = into ?? new Uint8Array(length);
    let done = 0;
    while (done < length) {
      let bytesRead: number;
      try {
        ({ bytesRead } = await handle.read(bytes, done, Math.min(MAX_READ, length - done), offset + done));
      } catch (cause) {
        throw fileError(path, cause);
      }
      if (bytesRead === 0) {
        throw new CheckpointError(
          `${path}: had ${size} bytes when it was opened and now ends at ${offset + done}; ` +
            'something truncates it; wait until it is complete and open it again',
        );
      }
      done += bytesRead;
    }
    return bytes;
  };
}

/** What a failed file operation means to a user. */
export function fileError(path: string, cause: unknown): CheckpointError {
  return new CheckpointError(`${path}: ${whyUnread(cause)}`, { cause });
}

/** Why a file could not be read, as words that follow its name. */
export function whyUnread(cause: unknown): string {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  const reasons: Record<string, string> = {
    ENOENT: 'does not exist',
    ENOTDIR: 'does not exist: a part of the path is a file, not a folder',
    EACCES: 'may not be read: no permission; change its mode or owner',
    EPERM: 'may not be read: no permission; change its mode or owner',
    EISDIR: 'is a folder, not a file',
    EMFILE: "can't be opened: too many open files (see ulimit -n).",
    ELOOP: "can't be opened: its symbolic links form a circle.",
    ENAMETOOLONG: "can't be opened: the path is too long.",
  };
  return reasons[code] ?? `can't be read: ${cause instanceof Error ? cause.message : String(cause)}`;
}
