/**
 * @file Parts of a file of the hub, by requests for ranges.
 */
import { HubError } from '../util/errors.ts';
import { Backoff, type HubHttp, type HubSubject, HubUnreachableError, refusal } from './http.ts';

/** A file that is read in parts. */
export interface RangedFile {
  readonly url: string;
  readonly subject: HubSubject;
  /** For messages. */
  readonly name: string;
}

/**
 * Reads exactly `length` bytes at `offset`, in several tries if need be.
 * @throws HubError, also where the server sends no ranges.
 */
export async function readRange(
  http: HubHttp,
  file: RangedFile,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (length === 0) return new Uint8Array(0);
  const backoff = new Backoff(http.options);
  for (;;) {
    try {
      return await once(http, file, offset, length);
    } catch (error) {
      await backoff.next(error);
    }
  }
}

async function once(
  http: HubHttp,
  { url, subject, name }: RangedFile,
  offset: number,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const guard = http.guard();
  try {
    const range = `bytes=${offset}-${offset + length - 1}`;
    const answer = await http.get(url, { 'accept-encoding': 'identity', range }, guard.signal);
    const { response } = answer;
    if (!response.ok) {
      await response.body?.cancel();
      throw refusal(answer, subject, http.options);
    }
    if (response.status !== 206 || !response.headers.get('content-range')?.startsWith(`bytes ${offset}-`)) {
      await response.body?.cancel();
      throw new HubError(`${name}: the server sends no parts of files, so the model has to be downloaded first`);
    }
    const bytes = new Uint8Array(length);
    let have = 0;
    const reader = response.body?.getReader();
    try {
      for (let part = await reader?.read(); part?.value; part = await reader?.read()) {
        guard.touch();
        if (have + part.value.length > length) throw new HubError(`${name}: the server sends more than was asked for`);
        bytes.set(part.value, have);
        have += part.value.length;
      }
    } finally {
      // Lets go of the connection where the loop ended early; harmless otherwise.
      await reader?.cancel().catch(() => undefined);
    }
    if (have < length) throw new HubUnreachableError(`${name}: the connection ended early`);
    return bytes;
  } catch (error) {
    throw error instanceof HubError ? error : http.asUnreachable(error, http.options.endpoint, guard.signal);
  } finally {
    guard.done();
  }
}
