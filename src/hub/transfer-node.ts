/**
 * @file The download of one file into the cache: resumed, checked, and renamed when it is complete.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HubError, KeyholdError } from '../util/errors.ts';
import { makeFolder, writeAt } from '../util/files/files-node.ts';
import { fileSize } from './cache-node.ts';
import type { HubFile } from './files.ts';
import type { HubHttp } from './http.ts';
import { fill, type PartialContent, type Transfer, wrongChecksum } from './transfer.ts';

/**
 * The name of a blob while it is incomplete. It differs from that of Python's library, whose locks can't be taken
 * from here: two writers must not share a file.
 */
export function incompletePath(blob: string): string {
  return `${blob}.keyhold.incomplete`;
}

/** One file to download, and where it goes. */
export interface BlobTransfer extends Transfer {
  readonly blob: string;
}

/**
 * Downloads a file. What an earlier, interrupted download left is continued; after a failure, what came so far is kept.
 * The caller holds a lock on the blob.
 *
 * @throws HubError where the server refuses, the connection fails too often, the disk is full, or the checksum is wrong
 * (then nothing is kept).
 */
export async function transferBlob(http: HubHttp, transfer: BlobTransfer): Promise<void> {
  const partial = incompletePath(transfer.blob);
  try {
    await makeFolder(dirname(partial));
    const handle = await open(partial, constants.O_RDWR | constants.O_CREAT);
    let good: boolean;
    try {
      const writer = await PartialFile.resume(handle, transfer.file);
      transfer.onBytes(writer.have);
      await fill(http, transfer, writer);
      good = writer.matches();
      if (good) await handle.datasync();
    } finally {
      await handle.close();
    }
    if (!good) {
      await rm(partial, { force: true });
      throw wrongChecksum(transfer.subject.id, transfer.file.path);
    }
    await rename(partial, transfer.blob).catch(async (error: NodeJS.ErrnoException) => {
      // A lock lost in a long sleep of the machine: another process wrote the same bytes and was faster.
      if (error.code !== 'ENOENT' || (await fileSize(transfer.blob)) !== transfer.file.size) throw error;
    });
  } catch (error) {
    throw diskError(error, partial);
  }
}

/** The incomplete file, and the checksum of what is in it. */
class PartialFile implements PartialContent {
  readonly size: number;
  have = 0;
  readonly #handle: FileHandle;
  readonly #etag: string;
  #hash: Hash;

  private constructor(handle: FileHandle, file: HubFile) {
    this.#handle = handle;
    this.size = file.size;
    this.#etag = file.etag;
    this.#hash = this.#newHash();
  }

  /** Takes up what is in the file; its bytes are read once, for the checksum. */
  static async resume(handle: FileHandle, file: HubFile): Promise<PartialFile> {
    const writer = new PartialFile(handle, file);
    const { size } = await handle.stat();
    if (size > file.size) {
      await writer.restart();
      return writer;
    }
    const buffer = new Uint8Array(Math.min(1 << 20, size));
    while (writer.have < size) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, writer.have);
      if (bytesRead === 0) break;
      writer.#hash.update(buffer.subarray(0, bytesRead));
      writer.have += bytesRead;
    }
    return writer;
  }

  async append(bytes: Uint8Array): Promise<void> {
    await writeAt(this.#handle, bytes, this.have);
    this.#hash.update(bytes);
    this.have += bytes.length;
  }

  async restart(): Promise<void> {
    await this.#handle.truncate(0);
    this.have = 0;
    this.#hash = this.#newHash();
  }

  matches(): boolean {
    return this.#hash.digest('hex') === this.#etag;
  }

  #newHash(): Hash {
    if (this.#etag.length === 64) return createHash('sha256');
    // Small files are named as git names them.
    return createHash('sha1').update(`blob ${this.size}\0`);
  }
}

/** Puts what the file system refuses into words; other errors pass. */
export function diskError(error: unknown, path: string): unknown {
  if (error instanceof KeyholdError || !(error instanceof Error) || !('code' in error)) return error;
  if (error.code === 'ELOCK') return new HubError(error.message, undefined, { cause: error });
  const reasons: Record<string, string> = {
    ENOSPC: 'the disk is full; free some space and try again; what was downloaded is kept',
    EDQUOT: 'the disk quota is used up; free some space and try again; what was downloaded is kept',
    EACCES: 'no permission to write there; choose another cache folder (HF_HUB_CACHE)',
    EPERM: 'no permission to write there; choose another cache folder (HF_HUB_CACHE)',
    EROFS: 'the disk is read-only; choose another cache folder (HF_HUB_CACHE)',
    ENOTDIR: 'a part of the path is a file, not a folder; choose another cache folder (HF_HUB_CACHE)',
    ENOENT: 'there can be no folder there; choose another cache folder (HF_HUB_CACHE)',
    EEXIST: 'a file is in the way; choose another cache folder (HF_HUB_CACHE)',
  };
  const reason = reasons[String(error.code)];
  return reason === undefined ? error : new HubError(`${path}: ${reason}`, undefined, { cause: error });
}
