import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMIT, model, NEXT, useHub, weights } from '../../test/support/hub-fixture.ts';
import type { HubProgress } from './hub-node.ts';

const hub = useHub();

describe('interrupted downloads', () => {
  it('continue within one call where the connection drops', async () => {
    hub.server.faults.dropAfter = [1e9, 1e9, 150_000, 100_000];
    const folder = await hub.download();
    expect(await readFile(join(folder, 'model.safetensors'))).toEqual(Buffer.from(weights));
    const ranges = hub.weightRequests().map(({ range }) => range);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => /^bytes=\d+-$/.test(range ?? ''))).toBe(true);
    expect(ranges.length).toBeGreaterThanOrEqual(3);
  });

  it('give up after too many failures, keep what came, and continue next time', async () => {
    hub.server.faults.dropAfter = [1e9, 1e9, 100_000, 0, 0, 0, 0];
    const error = await hub.refusal();
    expect(error.message).toMatch(/connection/);
    hub.server.faults.dropAfter = [];
    const have = (await stat(hub.partialOf('model.safetensors'))).size;
    expect(have).toBeGreaterThan(0);
    hub.server.requests.length = 0;
    const events: HubProgress[] = [];
    await hub.download({ onProgress: (progress) => events.push(progress) });
    expect(hub.weightRequests().map(({ range }) => range)).toEqual([`bytes=${have}-`]);
    expect(await readFile(hub.blobOf('model.safetensors'))).toEqual(Buffer.from(weights));
    await expect(stat(hub.partialOf('model.safetensors'))).rejects.toThrow(/ENOENT/);
  });

  it('start anew where the hub.server ignores ranges', async () => {
    hub.server.faults.ignoreRange = true;
    hub.server.faults.dropAfter = [1e9, 1e9, 150_000];
    await hub.download();
    expect(await readFile(hub.blobOf('model.safetensors'))).toEqual(Buffer.from(weights));
  });

  it('start anew where the leftover is longer than the file, and need no request where it is complete', async () => {
    await mkdir(join(hub.repoFolder, 'blobs'), { recursive: true });
    await writeFile(hub.partialOf('model.safetensors'), new Uint8Array(weights.length + 1));
    await writeFile(hub.partialOf('config.json'), model['config.json'].content);
    await hub.download();
    expect(hub.weightRequests().map(({ range }) => range)).toEqual([undefined]);
    expect(hub.server.contentRequests.some(({ url }) => url.endsWith('config.json'))).toBe(false);
    expect(await readFile(hub.blobOf('model.safetensors'))).toEqual(Buffer.from(weights));
  });

  it('are discarded where the leftover was of something else', async () => {
    await mkdir(join(hub.repoFolder, 'blobs'), { recursive: true });
    await writeFile(hub.partialOf('model.safetensors'), new Uint8Array(1000).fill(7));
    expect((await hub.refusal()).message).toMatch(/model\.safetensors: the checksum is wrong/);
    await expect(stat(hub.partialOf('model.safetensors'))).rejects.toThrow(/ENOENT/);
    await hub.download();
    expect(await readFile(hub.blobOf('model.safetensors'))).toEqual(Buffer.from(weights));
  });

  it('survive errors of the server', async () => {
    hub.server.faults.statuses = [503, 500];
    await hub.download();
    hub.server.faults.statuses = [503, 503, 503];
    expect((await hub.refusal({ revision: NEXT })).status).toBe(503);
  });

  it('count silence as a dropped connection', async () => {
    hub.server.faults.delayMs = 400;
    expect((await hub.refusal({ stallMs: 50, retries: 1 })).message).toMatch(/no data came for 0\.05 seconds/);
  });

  it('stop when told to, and keep what came', async () => {
    hub.server.faults.delayMs = 30;
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ file, fileBytes }: HubProgress): void => {
      if (file === 'model.safetensors' && fileBytes > 0) controller.abort(reason);
    };
    await expect(hub.download({ onProgress, signal: controller.signal })).rejects.toBe(reason);
    expect((await stat(hub.partialOf('model.safetensors'))).size).toBeGreaterThan(0);
    expect(await readdir(join(hub.cacheDir, '.locks', 'models--org--tiny'))).toEqual([]);
    await expect(hub.download({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });

  it('of two at once do not disturb each other', async () => {
    hub.server.faults.delayMs = 5;
    const folders = await Promise.all([hub.download(), hub.download(), hub.download({ revision: COMMIT })]);
    expect(new Set(folders).size).toBe(1);
    expect(hub.weightRequests()).toHaveLength(1);
    expect(await readFile(join(folders[0], 'model.safetensors'))).toEqual(Buffer.from(weights));
  });
});
