import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { etagOf, HubServer } from '../../test/support/hub-server.ts';
import { HubHttp } from '../hub/http.ts';
import { fileUrl } from '../hub/listing.ts';
import { Outline } from './outline.ts';
import { StreamedFile, type StreamedFileOptions } from './streamed-file.ts';

const ID = 'org/model';
const COMMIT = 'a'.repeat(40);
const PATH = 'model.safetensors';
const HEAD = 1000;
const TENSOR = 200_000;
const TENSORS = 10;
const content = new Uint8Array(randomBytes(HEAD + TENSORS * TENSOR));
const tensors = Array.from({ length: TENSORS }, (_, i) => ({
  name: `t${i}`,
  offset: HEAD + i * TENSOR,
  length: TENSOR,
}));
/** Buffers are compared faster than arrays are. */
const same = (bytes: Uint8Array, offset: number, length: number): void =>
  expect(Buffer.from(bytes).equals(bytesAt(offset, length)), `${length} bytes at ${offset}`).toBe(true);
const bytesAt = (offset: number, length: number) => content.subarray(offset, offset + length);

let hub: HubServer;
beforeEach(async () => {
  hub = await HubServer.start();
  const files = { [PATH]: { content, lfs: true } };
  hub.repos.set(ID, { commits: { [COMMIT]: files }, refs: { main: COMMIT } });
});
afterEach(() => hub.close());

const httpOf = (signal?: AbortSignal) =>
  new HubHttp({ endpoint: hub.endpoint, retries: 5, retryDelayMs: 1, stallMs: 20_000, signal });
/** A file whose header was read. */
async function open(options: Partial<StreamedFileOptions> = {}): Promise<StreamedFile> {
  const http = httpOf();
  const etag = etagOf({ content, lfs: true });
  const file = new StreamedFile({
    ...{ http, url: fileUrl(http, ID, COMMIT, PATH), id: ID, commit: COMMIT },
    ...{ file: { path: PATH, size: content.length, etag }, outline: new Outline(), aheadBytes: 100_000 },
    ...options,
  });
  same(await file.read(0, 8), 0, 8);
  same(await file.read(8, HEAD - 8), 8, HEAD - 8);
  file.onTensors(tensors);
  file.endOpening();
  return file;
}
const ranges = () => hub.requests.filter(({ host }) => host === 'cdn').map(({ range }) => range);

describe('a file that is read while it is downloaded', () => {
  it('gives the bytes in any order, and asks once where parts are read once', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.shuffledSubarray(
          tensors.map((_, i) => i),
          { minLength: 1 },
        ),
        fc.array(fc.nat(content.length), { maxLength: 2 }),
        async (order, drops) => {
          hub.requests.length = 0;
          hub.faults.dropAfter = [content.length, ...drops.map((drop) => Math.max(1, drop))];
          const file = await open();
          const samples = tensors.map(({ offset }) => file.readPassing(offset + 500, 100));
          for (const i of order) {
            const { offset, length } = tensors[i];
            for (let at = 0; at < length; at += 70_000) {
              const count = Math.min(70_000, length - at);
              same(await file.read(offset + at, count), offset + at, count);
            }
            file.complete();
          }
          await file.finish();
          for (const [i, sample] of (await Promise.all(samples)).entries()) same(sample, tensors[i].offset + 500, 100);
          // A part that was dropped with the connection is the only one that comes twice.
          for (const range of ranges()) expect(range ?? 'bytes=0-').toMatch(/^bytes=\d+-$/);
        },
      ),
      { numRuns: 5 },
    );
  });

  it('goes on at its last point, and knows a wrong file', async () => {
    const first = await open();
    const sample = first.readPassing(tensors[1].offset, 50);
    for (const i of [0, 2]) await first.read(tensors[i].offset, TENSOR);
    first.complete();
    const point = first.point!;
    expect(point.at).toBeGreaterThan(TENSOR / 2);
    expect(point.at).toBeLessThanOrEqual(tensors[1].offset);
    same(await sample, tensors[1].offset, 50);
    await first.close();
    const outline = Outline.fromBytes(first.outline.toBytes());
    hub.requests.length = 0;
    const next = await open({ outline });
    expect(ranges()).toEqual([]);
    expect(next.resume(JSON.parse(JSON.stringify(point)))).toBe(true);
    same(await next.readPassing(tensors[1].offset, 50), tensors[1].offset, 50);
    for (const i of [1, 3]) same(await next.read(tensors[i].offset, TENSOR), tensors[i].offset, TENSOR);
    await next.finish();
    expect(ranges()).toEqual([`bytes=${point.at}-`]);
    const begun = await open();
    expect(begun.resume(point)).toBe(false);
    await begun.close();
    const wrong = await open({ outline });
    wrong.resume(JSON.parse(JSON.stringify(point)));
    hub.faults.wrongBytes = true;
    await expect(wrong.finish()).rejects.toThrow(/the checksum is wrong/);
    expect(wrong.isWrong).toBe(true);
  });

  it('starts anew where the server sends no ranges, and keeps what was used', async () => {
    const first = await open();
    await first.read(tensors[0].offset, TENSOR);
    first.complete();
    await first.close();
    hub.faults.ignoreRange = true;
    const next = await open({ outline: first.outline });
    next.resume(first.point!);
    same(await next.read(tensors[1].offset, TENSOR), tensors[1].offset, TENSOR);
    await next.finish();
  });

  it('holds no more than it may, and asks again for what it had to drop', async () => {
    const file = await open({ mostHeldBytes: 3 * TENSOR });
    same(await file.read(tensors[8].offset, TENSOR), tensors[8].offset, TENSOR);
    hub.requests.length = 0;
    same(await file.read(tensors[7].offset, 1000), tensors[7].offset, 1000);
    expect(ranges()).toEqual([]);
    same(await file.read(tensors[0].offset, TENSOR), tensors[0].offset, TENSOR);
    expect(ranges()).toEqual([`bytes=${tensors[0].offset}-${tensors[0].offset + TENSOR - 1}`]);
    await file.finish();
  });

  it('reads nothing ahead that nothing asks for, and reads far parts of an opening by themselves', async () => {
    const http = httpOf();
    const etag = etagOf({ content, lfs: true });
    const file = new StreamedFile({
      ...{ http, url: fileUrl(http, ID, COMMIT, PATH), id: ID, commit: COMMIT, outline: new Outline() },
      ...{ file: { path: PATH, size: content.length, etag }, aheadBytes: 100_000 },
    });
    await file.read(0, 8);
    same(await file.read(tensors[9].offset, 100), tensors[9].offset, 100);
    expect(ranges()).toEqual([undefined, `bytes=${tensors[9].offset}-${tensors[9].offset + 99}`]);
    expect(file.have).toBeLessThan(tensors[5].offset);
    file.pause();
    file.onTensors(tensors);
    file.endOpening();
    same(await file.read(tensors[2].offset, 100), tensors[2].offset, 100);
    await file.finish();
  });

  it('gives errors to what waits, and can be read again', async () => {
    const file = await open();
    hub.faults.statuses = Array.from({ length: 7 }, () => 503);
    hub.faults.dropAfter = [];
    file.pause();
    const far = tensors[9].offset;
    const error = await file.read(far, 10).catch((cause: Error) => cause);
    // The first request may have been as far already.
    if (error instanceof Error) expect(error.message).toMatch(/503/);
    hub.faults.statuses = [];
    same(await file.read(far, 10), far, 10);
    await file.close();
  });
});
