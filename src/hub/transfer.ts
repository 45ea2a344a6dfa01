/**
 * @file The download of one file: requests until it is as long as announced, continued after each break.
 */
import { HubError } from '../util/errors.ts';
import type { HubFile } from './files.ts';
import { Backoff, type HubAnswer, type HubHttp, type HubSubject, HubUnreachableError, refusal } from './http.ts';

/** Progress that makes earlier failures forgotten: a slow line may drop many times on the way through a large file. */
const PROGRESS_BYTES = 8 * 1024 * 1024;

/** One file to download. */
export interface Transfer {
  readonly url: string;
  readonly file: HubFile;
  readonly subject: HubSubject;
  /** Told how many bytes of the file are there. */
  readonly onBytes: (have: number) => void;
}

/** What has come of a file, on a disk or in a browser's storage. */
export interface PartialContent {
  readonly size: number;
  /** Bytes that are there. */
  readonly have: number;
  append(bytes: Uint8Array): Promise<void>;
  /** Drops all that is there. */
  restart(): Promise<void>;
}

/** A file that came whole, and is another one. */
export const wrongChecksum = (id: string, path: string): HubError =>
  new HubError(
    `${id}/${path}: the checksum is wrong, so the download was discarded; try again; ` +
      'if it stays wrong, something between here and the hub changes the data',
  );

/** Requests until the file is as long as announced. */
export async function fill(http: HubHttp, transfer: Transfer, writer: PartialContent): Promise<void> {
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
async function checkAnswer(
  http: HubHttp,
  transfer: Transfer,
  writer: PartialContent,
  answer: HubAnswer,
): Promise<void> {
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
  writer: PartialContent,
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
      // It may wait for what reads the bytes.
      guard.pause();
      await writer.append(value);
      guard.touch();
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
