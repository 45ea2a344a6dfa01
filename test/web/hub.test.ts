/**
 * Models of the hub in Chromium: broken off and resumed, prepared once for all tabs, kept, listed, deleted.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openCheckpointFolder } from '../../src/checkpoint/open-node.ts';
import { writeSafetensors } from '../../src/checkpoint/write-safetensors-node.ts';
import type { LoadProgress } from '../../src/exports/web.ts';
import { writeGguf } from '../../src/load/convert/convert-node.ts';
import { loadModel } from '../../src/node.ts';
import {
  hasChromium,
  launchChromium,
  libraryPage,
  type Site,
  serveSite,
  WITHOUT_CHROMIUM,
} from '../support/browser.ts';
import { ROOT } from '../support/example-folder.ts';
import { startHubOf, TINY_COMMIT } from '../support/hub-models.ts';
import type { HubServer, HubServerFile } from '../support/hub-server.ts';
import type {} from './page.ts';

if (!hasChromium) process.stderr.write(`test/web/hub: ${WITHOUT_CHROMIUM}\n`);

const ID = 'org/tiny';
const GGUF_ID = 'org/tiny-GGUF';
const WEIGHT_BYTES = 10_563_984;

describe.skipIf(!hasChromium)('a model of the hub in Chromium', () => {
  let browser: Browser;
  let site: Site;
  let text: string;
  let gguf: Uint8Array;
  let hub: HubServer;
  let context: BrowserContext;

  beforeAll(async () => {
    site = await serveSite({ ...(await libraryPage()), isolated: true });
    browser = await launchChromium();
    const node = await loadModel('keyhold/tiny', { engine: 'onnx', weights: 'float32' });
    text = await node.generate('In the', { maxNewTokens: 6, temperature: 0 }).text();
    await node.dispose();
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-hub-web-'));
    const checkpoint = await openCheckpointFolder(join(ROOT, 'models/tiny'));
    await writeGguf(checkpoint, join(folder, 'tiny.gguf'));
    await checkpoint.close();
    gguf = await readFile(join(folder, 'tiny.gguf'));
    await rm(folder, { recursive: true });
  });
  afterAll(async () => {
    await browser?.close();
    await site?.close();
  });
  // A context has a storage of its own.
  beforeEach(async () => {
    hub = await startHubOf(ID);
    const files = { 'model-f16.gguf': { content: gguf, lfs: true } };
    hub.repos.set(GGUF_ID, { commits: { [TINY_COMMIT]: files }, refs: { main: TINY_COMMIT } });
    context = await browser.newContext();
  });
  afterEach(async () => {
    await context.close();
    await hub.close();
  });

  const open = async (): Promise<Page> => {
    const page = await context.newPage();
    await page.goto(site.url);
    await page.waitForFunction(() => 'page' in globalThis);
    return page;
  };
  interface Result {
    readonly text: string;
    readonly progress: LoadProgress[];
    readonly error: string;
  }
  /** Loads the model and continues a text. @param stopAt bytes after which the load is aborted. */
  const load = (
    page: Page,
    options: { weights?: 'float32' | 'int8'; stopAt?: number; id?: string } = {},
  ): Promise<Result> =>
    page.evaluate(
      async ([endpoint, { id = 'org/tiny', weights = 'float32', stopAt }]) => {
        const progress: LoadProgress[] = [];
        const aborter = new AbortController();
        try {
          const model = await globalThis.page.load(
            {
              weights,
              threads: 1,
              signal: aborter.signal,
              onProgress: (p) => {
                progress.push(p);
                if (stopAt !== undefined && p.bytes > stopAt) aborter.abort();
              },
            },
            { hub: id, endpoint },
          );
          const text = await model.generate('In the', { maxNewTokens: 6, temperature: 0 }).text();
          await model.dispose();
          return { text, progress, error: '' };
        } catch (error) {
          return { text: '', progress, error: `${(error as Error).name}: ${(error as Error).message}` };
        }
      },
      [hub.endpoint, options] as const,
    );
  const stored = (page: Page) => page.evaluate(() => globalThis.page.keyhold.storedModels());
  const weightRequests = () => hub.requests.filter(({ host }) => host === 'cdn');
  /** Waits until a download can go on behind so many bytes of its file. */
  const downloadIsNoted = (page: Page, bytes: number): Promise<boolean> =>
    page.evaluate(
      async ([id, bytes]) => {
        for (;;) {
          try {
            let folder = await navigator.storage.getDirectory();
            for (const name of ['keyhold', 'models', encodeURIComponent(id)])
              folder = await folder.getDirectoryHandle(name);
            for await (const [name, handle] of folder as unknown as AsyncIterable<[string, FileSystemFileHandle]>) {
              if (!name.endsWith(' unfinished')) continue;
              const { points } = JSON.parse(await (await handle.getFile()).text()) as { points: { at: number }[] };
              if (Object.values(points).every(({ at }) => at > bytes)) return true;
            }
          } catch {
            // Not there yet, or being written.
          }
          await new Promise((done) => setTimeout(done, 50));
        }
      },
      [ID, bytes] as const,
    );
  /** Where the requests for weights begin. */
  const firstBytes = () => weightRequests().map(({ range }) => Number(/^bytes=(\d+)-$/.exec(range ?? 'bytes=0-')![1]));

  it('goes on where a download was broken off, and is not downloaded again', async () => {
    const page = await open();
    // The connection breaks twice, and then the user stops.
    hub.faults.dropAfter = [0, 0, 0, 0].map(() => 1e9).concat(1_000_000, 2_000_000);
    hub.faults.delayMs = 12;
    const broken = await load(page, { stopAt: 5_000_000 });
    expect(broken.error).toMatch(/^AbortError/);
    expect(await stored(page)).toMatchObject([{ hub: ID, commit: null }]);
    const before = (await stored(page))[0].bytes;
    expect(before).toBeGreaterThan(4_000_000);
    const again = await load(page);
    expect(again.error).toBe('');
    expect(again.text).toBe(text);
    const starts = firstBytes();
    expect(starts).toHaveLength(4);
    expect(starts.slice(0, 3)).toEqual([0, 1_000_000, 3_000_000]);
    // How far the preparing was when it was stopped is not known; the next test waits for it.
    expect(starts[3]).toBeLessThan(WEIGHT_BYTES);
    const download = again.progress.filter(({ stage }) => stage === 'download');
    expect(download.some((p) => 'rate' in p && p.rate > 0 && p.secondsLeft! > 0)).toBe(true);
    expect(download.at(-1)!.bytes).toBe(download.at(-1)!.total);
    // The prepared weights are there, in float32; the checkpoint is not.
    const [{ bytes, commit }] = await stored(page);
    expect(commit).toMatch(/^c{40}$/);
    expect(bytes).toBeLessThan(2 * WEIGHT_BYTES + 1e6);
    const requests = hub.contentRequests.length;
    const third = await load(page);
    expect(third.text).toBe(text);
    expect(hub.contentRequests).toHaveLength(requests);
    expect(third.progress).toEqual([]);
  });

  it('goes on after its tab was closed, and takes the space of the prepared weights alone', async () => {
    const page = await open();
    const session = await context.newCDPSession(page);
    // The checkpoint has 10.6 MB, its weights in int8 have 5.8 MB.
    const quota = { origin: new URL(site.url).origin, quotaSize: 10_000_000 };
    await session.send('Storage.overrideQuotaForOrigin', quota);
    hub.faults.holdAt = 9_000_000;
    const closed = await open();
    const loading = load(closed, { weights: 'int8' }).catch(() => null);
    // Where the load ends before, its error is what is wrong.
    expect(await Promise.race([downloadIsNoted(page, 1_000_000), loading.then((result) => result?.error)])).toBe(true);
    await closed.close();
    await loading;
    hub.faults.holdAt = undefined;
    // The quota ends with the session, which is that of the other tab.
    const again = await load(page, { weights: 'int8' });
    expect(again.error).toBe('');
    expect(firstBytes()).toHaveLength(2);
    expect(firstBytes()[1]).toBeGreaterThan(1_000_000);
    const [{ bytes }] = await stored(page);
    expect(bytes).toBeLessThan(8_000_000);
    const whole = await load(await open(), { weights: 'int8' });
    expect([whole.text, whole.progress]).toEqual([again.text, []]);
  });

  it('may be in shards', async () => {
    const page = await open();
    const { tensors, close } = await openCheckpointFolder(join(ROOT, 'models/tiny'));
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-hub-shards-'));
    // Backwards: no order of tensors is relied on.
    const all = [...tensors.values()].reverse().map((tensor) => ({
      ...tensor,
      bytes: async function* () {
        yield await tensor.readBytes!(
          0,
          tensor.shape.reduce((a, b) => a * b, 1),
        );
      },
    }));
    await writeSafetensors(folder, all, { maxShardBytes: 4_000_000 });
    await close();
    const tiny = hub.repos.get(ID)!.commits[TINY_COMMIT];
    const files: Record<string, HubServerFile> = {};
    for (const [name, file] of Object.entries(tiny)) if (!name.endsWith('.safetensors')) files[name] = file;
    for (const name of await readdir(folder))
      files[name] = { content: await readFile(join(folder, name)), lfs: name.endsWith('.safetensors') };
    await rm(folder, { recursive: true });
    hub.repos.set('org/shards', { commits: { [TINY_COMMIT]: files }, refs: { main: TINY_COMMIT } });
    const first = await load(page, { id: 'org/shards' });
    expect([first.error, first.text]).toEqual(['', text]);
    expect(Object.keys(files).filter((name) => name.endsWith('.safetensors')).length).toBeGreaterThan(2);
    const again = await load(page, { id: 'org/shards' });
    expect([again.text, again.progress]).toEqual([text, []]);
  });

  it('loads without a network what it has', async () => {
    const page = await open();
    expect((await load(page)).text).toBe(text);
    hub.faults.statuses = Array.from({ length: 20 }, () => 503);
    expect((await load(page)).text).toBe(text);
  });

  it('is downloaded and prepared once by two tabs', async () => {
    const [a, b] = [await open(), await open()];
    hub.faults.delayMs = 1;
    const results = await Promise.all([load(a), load(b)]);
    expect(results.map((result) => result.error + result.text)).toEqual([text, text]);
    expect(weightRequests()).toHaveLength(1);
    expect(results.filter(({ progress }) => progress.length > 0)).toHaveLength(1);
  });

  it('may be a GGUF file, of the hub or of the disk', async () => {
    const page = await open();
    const first = await load(page, { id: `${GGUF_ID}:F16` });
    expect([first.error, first.text]).toEqual(['', text]);
    const again = await load(page, { id: `${GGUF_ID}:F16` });
    expect([again.text, again.progress]).toEqual([text, []]);
    expect(await stored(page)).toMatchObject([{ hub: `${GGUF_ID}:F16` }]);
    await page.evaluate(() => document.body.append(Object.assign(document.createElement('input'), { type: 'file' })));
    await page.setInputFiles('input', {
      name: 'tiny.gguf',
      mimeType: 'application/octet-stream',
      buffer: Buffer.from(gguf),
    });
    const chosen = await page.evaluate(async () => {
      const model = await globalThis.page.load({ threads: 1 }, Array.from(document.querySelector('input')!.files!));
      const text = await model.generate('In the', { maxNewTokens: 6, temperature: 0 }).text();
      await model.dispose();
      return text;
    });
    expect(chosen).toBe(text);
  });

  it('is downloaded again for another weight format, and keeps both', async () => {
    const page = await open();
    await load(page);
    const [{ bytes }] = await stored(page);
    const int8 = await load(page, { weights: 'int8' });
    expect(int8.error).toBe('');
    expect(weightRequests()).toHaveLength(2);
    expect((await stored(page))[0].bytes).toBeGreaterThan(bytes + 5e6);
    expect((await load(page)).progress).toEqual([]);
  });

  it('is deleted when nobody uses it', async () => {
    const page = await open();
    const errors = await page.evaluate(
      async ([endpoint, id]) => {
        const { deleteStoredModel } = globalThis.page.keyhold;
        const fails = (run: Promise<unknown>) =>
          run.then(
            () => 'no error',
            (e: Error) => `${e.name}: ${e.message}`,
          );
        const model = await globalThis.page.load({ threads: 1 }, { hub: id, endpoint });
        const inUse = await fails(deleteStoredModel(id));
        await model.dispose();
        // The worker's lock ends with it.
        while (/in use/.test(await fails(deleteStoredModel(id)))) await new Promise((done) => setTimeout(done, 20));
        return [inUse, await fails(deleteStoredModel(id))];
      },
      [hub.endpoint, ID] as const,
    );
    expect(errors[0]).toMatch(/^InputError: org\/tiny is in use/);
    expect(errors[1]).toMatch(/^InputError: there is no model "org\/tiny"/);
    expect(await stored(page)).toEqual([]);
  });

  it('says what is wrong: names, checksums, too little space', async () => {
    const page = await open();
    hub.faults.wrongBytes = true;
    expect((await load(page)).error).toMatch(/^HubError: org\/tiny\/config.json: the checksum is wrong/);
    hub.faults.wrongBytes = false;
    // One wrong bit near the end, when most of the weights are prepared.
    hub.faults.wrongBitAt = 10_000_000;
    expect((await load(page)).error).toMatch(/^HubError: org\/tiny\/model.safetensors: the checksum is wrong/);
    expect(await stored(page)).toMatchObject([{ commit: null }]);
    hub.faults.wrongBitAt = undefined;
    const before = weightRequests().length;
    const session = await context.newCDPSession(page);
    const origin = new URL(site.url).origin;
    await session.send('Storage.overrideQuotaForOrigin', { origin, quotaSize: 5_000_000 });
    expect((await load(page)).error).toMatch(/^WeightsError: .*(storage is full|leaves this page)/);
    await session.send('Storage.overrideQuotaForOrigin', { origin });
    const whole = await load(page);
    expect([whole.error, whole.text]).toEqual(['', text]);
    // Nothing of what was wrong was used.
    expect(firstBytes().slice(before).at(-1)).toBe(0);
    const missing = await page.evaluate(
      ([endpoint]) =>
        globalThis.page.load({}, { hub: 'org/none', endpoint }).then(
          () => '',
          (error: Error) => `${error.name}: ${error.message}`,
        ),
      [hub.endpoint],
    );
    expect(missing).toMatch(/^HubError: org\/none: no such repository/);
    expect((await stored(page)).map(({ hub: id }) => id)).toEqual(['org/tiny']);
  });
});
