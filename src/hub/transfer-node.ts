/**
 * @file The download of one file into the cache: resumed, checked, and renamed when it is complete.
 */
import { createHash, type Hash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { HubError, KeyholdError } from '../util/errors.ts';
import { writeAt } from '../util/files-node.ts';
import { fileSize } from './cache-node.ts';
import type { HubFile } from './files.ts';
import { Backoff, type HubAnswer, type HubHttp, type HubSubject, HubUnreachableError, refusal } from './http.ts';

/** Progress that makes earlier failures forgotten: a slow line may drop many times on the way through a large file. */
const PROGRESS_BYTES = 8 * 1024 * 1024;

/**
 * The name of a blob while it is incomplete. It differs from that of Python's library, whose locks can't be taken
 * from here: two writers must not share a file.
 */
export function incompletePath(blob: string): string {
  return `${blob}.keyhold.incomplete`;
}

/** One file to download. */
export interface Transfer {
  readonly url: string;
  readonly file: HubFile;
  /** Where it goes. */
  readonly blob: string;
  readonly subject: HubSubject;
  /** Told how many bytes of the file are there. */
  readonly onBytes: (have: number) => void;
}

/**
 * Downloads a file. What an earlier, interrupted download left is continued; after a failure, what came so far is kept.
 * The caller holds a lock on the blob.
 *
 * @throws HubError where the server refuses, the connection fails too often, the disk is full, or the checksum is wrong
 * (then nothing is kept).
 */
export async function transferBlob(http: HubHttp, transfer: Transfer): Promise<void> {
  const partial = incompletePath(transfer.blob);
  try {
    await mkdir(dirname(partial), { recursive: true });
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
      throw new HubError(
        `${transfer.subject.id}/${transfer.file.path}: the checksum is wrong, so the download was discarded; ` +
          'try again; if it stays wrong, something between here and the hub changes the data',
      );
    }
    await rename(partial, transfer.blob).catch(async (error: NodeJS.ErrnoException) => {
      // A lock lost in a long sleep of the machine: another process wrote the same bytes and was faster.
      if (error.code !== 'ENOENT' || (await fileSize(transfer.blob)) !== transfer.file.size) throw error;
    });
  } catch (error) {
    throw diskError(error, partial);
  }
}

/** Requests until the file is as long as announced. */
async function fill(http: HubHttp, transfer: Transfer, writer: PartialFile): Promise<void> {
  const backoff = new Backoff(http.options);
  // The store's own name for the content, which says whether a later part belongs to the same.
  let storeTag: string | undefined;
  let counted = writer.have;
  while (writer.have < writer.size) {
    const guard = http.guard();
    try {
      const headers: Record<string, string> = { 'accept-encoding': 'identity' };
      if (writer.have > 0) {
        headers['range'] = `bytes=${writer.have}-`;
        if (storeTag !== undefined) headers['if-range'] = storeTag;
      }
      const answer = await http.get(transfer.url, headers, guard.signal);
      await checkAnswer(http, transfer, writer, answer);
      const tag = answer.response.headers.get('etag');
      storeTag = tag !== null && !tag.startsWith('W/') ? tag : undefined;
      await drain(http, transfer, writer, answer, guard);
    } catch (error) {
      if (writer.have - counted >= PROGRESS_BYTES) backoff.reset();
      counted = writer.have;
      await backoff.next(error);
    } finally {
      guard.done();
    }
  }
}

/** Refuses answers that are not the rest of this file; starts anew where the server sends all of it. */
async function checkAnswer(http: HubHttp, transfer: Transfer, writer: PartialFile, answer: HubAnswer): Promise<void> {
  const { response, hubHeaders } = answer;
  const { file, subject } = transfer;
  const discard = async (error: Error): Promise<never> => {
    await response.body?.cancel();
    throw error;
  };
  if (response.status === 416) {
    await writer.restart();
    await discard(new HubUnreachableError(`${subject.id}/${file.path}: the server can't continue the download`, 416));
  }
  if (!response.ok) await discard(refusal(answer, subject, http.options));
  const announced = (hubHeaders.get('x-linked-etag') ?? hubHeaders.get('etag') ?? '')
    .replace(/^W\//, '')
    .replaceAll('"', '');
  if (/^([0-9a-f]{40}|[0-9a-f]{64})$/.test(announced) && announced !== file.etag) {
    await discard(
      new HubError(
        `${subject.id}/${file.path}: the hub sends other content (${announced}) than it lists (${file.etag}); try again`,
      ),
    );
  }
  if (response.status === 206) {
    const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
    const total = range === null || range[2] === '*' ? writer.size : Number(range[2]);
    if (range === null || Number(range[1]) !== writer.have || total !== writer.size) {
      await writer.restart();
      await discard(
        new HubUnreachableError(`${subject.id}/${file.path}: the server sends another range than asked for`, 206),
      );
    }
  } else if (writer.have > 0) {
    await writer.restart();
    transfer.onBytes(0);
  }
}

async function drain(
  http: HubHttp,
  transfer: Transfer,
  writer: PartialFile,
  { response }: HubAnswer,
  guard: ReturnType<HubHttp['guard']>,
): Promise<void> {
  const name = `${transfer.subject.id}/${transfer.file.path}`;
  const reader = response.body?.getReader();
  try {
    while (reader !== undefined) {
      const { done, value } = await reader.read().catch((cause: unknown) => {
        throw http.asUnreachable(cause, new URL(transfer.url).origin, guard.signal);
      });
      if (done) break;
      guard.touch();
      if (writer.have + value.length > writer.size) {
        await writer.restart();
        throw new HubError(`${name}: the server sends more than the ${writer.size} bytes that it announced`);
      }
      await writer.append(value);
      transfer.onBytes(writer.have);
    }
  } finally {
    // Lets go of the connection where the loop ended early; harmless otherwise.
    await reader?.cancel().catch(() => undefined);
  }
  if (writer.have < writer.size) {
    throw new HubUnreachableError(`${name}: the connection ended at ${writer.have} of ${writer.size} bytes`);
  }
}

/** The incomplete file, and the checksum of what is in it. */
class PartialFile {
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
    EEXIST: 'a file is in the way; choose another cache folder (HF_HUB_CACHE)',
  };
  const reason = reasons[String(error.code)];
  return reason === undefined ? error : new HubError(`${path}: ${reason}`, undefined, { cause: error });
}
