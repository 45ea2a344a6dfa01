/**
 * keyhold/web on WebGPU, in Chromium with a graphics card in software: the same answers as in Node. It is slow, so
 * texts are short, and the model is two layers of the small one: most of the time is spent on what layers compute.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { WorkerModel } from '../../src/exports/web.ts';
import { POLICIES } from '../../src/kvcache/policies.ts';
import { type LanguageModel, loadModel, type ScoreResult } from '../../src/node.ts';
import {
  buildPage,
  hasChromium,
  launchChromium,
  libraryPage,
  openPage,
  type Site,
  serveSite,
  WITHOUT_CHROMIUM,
} from '../support/browser.ts';
import { anyCache } from '../support/policy-names.ts';
import { writeShallowModel } from '../support/shallow-model.ts';
import type { CapturedLogits, CaptureJob } from './capture.ts';
import type {} from './page.ts';

declare global {
  var model: WorkerModel;
}

const TEXT = 'And it came to pass in those days, that there went out a decree from the king.';

let browser: Browser | undefined;
/** Whether pages have a graphics card. */
let hasGpu = false;
if (hasChromium) {
  browser = await launchChromium({ gpu: true });
  const page = await browser.newPage();
  await page.goto('chrome://version');
  hasGpu = await page.evaluate(async () => {
    const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<unknown> } };
    return Boolean(await gpu?.requestAdapter());
  });
  await page.close();
}
if (!hasGpu)
  process.stderr.write(`test/web: ${hasChromium ? 'skipped: this Chromium has no WebGPU' : WITHOUT_CHROMIUM}\n`);

describe.skipIf(!hasGpu)('a model on WebGPU', () => {
  let site: Site;
  /** The folder of the model. */
  let shallow: string;
  let node: LanguageModel;
  let page: Page;
  let messages: string[];

  beforeAll(async () => {
    const workers = {
      placement: 'test/web/placement.ts',
      lost: 'test/web/lost-device.ts',
      capture: 'test/web/capture.ts',
    };
    shallow = await mkdtemp(join(tmpdir(), 'keyhold-shallow-'));
    await writeShallowModel(shallow, 2);
    const { folders, files } = await libraryPage(workers);
    site = await serveSite({ folders: { ...folders, '/shallow/': shallow }, files, isolated: false });
    node = await loadModel(shallow, { engine: 'onnx', weights: 'float32' });
    ({ page, messages } = await openPage(browser!, site.url));
    await page.waitForFunction(() => 'page' in globalThis);
    // Each device compiles its shaders anew, which takes most of the time.
    await page.evaluate(async () => {
      globalThis.model = await globalThis.page.load({ device: 'webgpu' }, '/shallow/');
    });
  });

  afterAll(async () => {
    await site?.close();
    await node?.dispose();
    await rm(shallow, { recursive: true, force: true });
  });

  const largest = (a: ScoreResult, b: ScoreResult): number => {
    expect(a.tokens.map(({ token }) => token)).toEqual(b.tokens.map(({ token }) => token));
    return Math.max(...a.tokens.map(({ logprob }, i) => Math.abs((logprob ?? 0) - (b.tokens[i].logprob ?? 0))));
  };

  it('gives the log-probabilities of Node, in chunks and token by token', async () => {
    const scores = await page.evaluate(async (text) => {
      const { model } = globalThis;
      return [await model.score(text, { chunkLength: 8 }), await model.score(text.slice(0, 20), { chunkLength: 1 })];
    }, TEXT);
    expect(largest(scores[0], await node.score(TEXT, { chunkLength: 8 }))).toBeLessThan(2e-4);
    expect(largest(scores[1], await node.score(TEXT.slice(0, 20)))).toBeLessThan(2e-4);
    expect(messages.splice(0)).toEqual([]);
  });

  it.each(['int8', 'int4'] as const)('computes with weights in %s what Node computes', async (weights) => {
    const { format, scores } = await page.evaluate(
      async ([text, choice]) => {
        const model = await globalThis.page.load({ device: 'webgpu', weights: choice }, '/shallow/');
        const all = [await model.score(text), await model.score(text.slice(0, 20), { chunkLength: 1 })];
        const format = model.weights;
        await model.dispose();
        return { format, scores: all };
      },
      [TEXT, weights] as const,
    );
    expect(format).toBe(weights);
    await using quantized = await loadModel(shallow, { engine: 'onnx', weights });
    // Node rounds activations to 8 bits, too.
    const [most, part] = [await quantized.score(TEXT), await quantized.score(TEXT.slice(0, 20))];
    expect(largest(scores[0], most)).toBeLessThan(0.4);
    expect(largest(scores[1], part)).toBeLessThan(0.4);
    expect(Math.abs(scores[0].perplexity / most.perplexity - 1)).toBeLessThan(0.03);
    expect(messages.splice(0)).toEqual([]);
  });

  it('goes on with a conversation when the graphics card is lost', async () => {
    const options = { maxNewTokens: 6, temperature: 0, cache: { policy: 'h2o', cacheLength: 8 } } as const;
    const expected = await node.generate('In the beginning', options).text();
    const { text, devices } = await page.evaluate(async (given) => {
      const worker = () => new Worker('/lost.js', { type: 'module' });
      const model = await globalThis.page.load({ device: 'webgpu', worker }, '/shallow/');
      const channel = new BroadcastChannel('device');
      const lose = () =>
        new Promise<number>((done) => {
          channel.onmessage = ({ data }) => done(data);
          channel.postMessage('lose');
        });
      let text = '';
      const devices: number[] = [];
      // Of both: a loss while a step may run, and one before the first step of the next request.
      for await (const piece of model.generate('In the beginning', given)) {
        text += piece.text;
        if (devices.length === 0) devices.push(await lose());
      }
      devices.push(await lose());
      const again = await model.generate('In the beginning', given).text();
      devices.push(await lose());
      await model.dispose();
      return { text: [text, again], devices };
    }, options);
    expect(text).toEqual([expected, expected]);
    expect(devices[0]).toBe(1);
    expect(devices[2]).toBeGreaterThan(devices[1]);
    messages.splice(0); // ONNX Runtime tells of lost devices.
  });

  it('is what the page computes by when it is asked to', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'keyhold-page-'));
    await buildPage(folder);
    const pages = await serveSite({ folders: { '/': folder }, isolated: false });
    try {
      const { page: own } = await openPage(browser!, pages.url);
      const isReady = (place: string) =>
        own.waitForFunction(
          (text) => document.getElementById('status')!.textContent!.includes(`Ready · ${text}`),
          place,
          // Each device compiles its shaders anew.
          { timeout: 120_000 },
        );
      await isReady('WebAssembly');
      await own.waitForSelector('#device option[value=webgpu]:not([disabled])', { state: 'attached' });
      await own.selectOption('#device', 'webgpu');
      await isReady('WebGPU');
      await own.fill('#count', '3');
      await own.fill('#prompt', 'In the');
      await own.press('#prompt', 'Enter');
      await own.waitForFunction(() => document.querySelector('.answers span')?.textContent);
      await isReady('WebGPU');
      await own.close();
    } finally {
      await pages.close();
      await rm(folder, { recursive: true, force: true });
    }
  });

  it('plays recorded steps that evict, with the results of Node and of steps that are not recorded', async () => {
    const cache = { policy: 'h2o', cacheLength: 8 } as const;
    const chunks = [[1, 2, 3, 4, 5, 6, 7, 8, 9], ...[10, 300, 301, 302, 303, 304, 305].map((token) => [token])];
    const { recorded, plain } = await page.evaluate(
      (job) =>
        new Promise<Record<'recorded' | 'plain', CapturedLogits>>((done, failed) => {
          const worker = new Worker('/capture.js', { type: 'module' });
          worker.onerror = ({ message }) => failed(new Error(message));
          worker.onmessage = ({ data }) => {
            worker.terminate();
            done(data);
          };
          worker.postMessage({ ...job, model: new URL('/shallow/', location.href).href });
        }),
      { cache, chunks } as Omit<CaptureJob, 'model'>,
    );
    const nodeCache = node.createCache(cache);
    for (const [step, chunk] of chunks.entries()) {
      const { logits } = await node.step(nodeCache, [chunk]);
      for (const side of [recorded, plain])
        expect(Math.max(...side.logits[step].map((value, i) => Math.abs(value - logits[i])))).toBeLessThan(2e-4);
    }
    // A step that is played makes no groups of buffers. The first one is also run as it was.
    const [before, after] = [recorded.groups.slice(0, 5), recorded.groups.slice(5)];
    expect(after).toEqual([0, 0, 0]);
    for (const count of [...before, ...plain.groups]) expect(count).toBeGreaterThan(30);
    expect(messages.splice(0)).toEqual([]);
  });

  it('runs no node on the processor', async () => {
    const policies = ['dense', 'h2o', 'h2o-max', 'expected'];
    const { page: own } = await openPage(browser!, site.url);
    const lines: string[] = [];
    own.on('console', (message) => lines.push(message.text()));
    await own.evaluate(
      (choices) =>
        new Promise<void>((done, failed) => {
          const worker = new Worker('/placement.js', { type: 'module' });
          worker.onerror = ({ message }) => failed(new Error(message));
          worker.onmessage = () => {
            worker.terminate();
            done();
          };
          worker.postMessage({ model: new URL('/shallow/', location.href).href, policies: choices });
        }),
      policies,
    );
    for (const [i, policy] of policies.entries()) {
      const end = i + 1 < policies.length ? lines.indexOf(`policy ${policies[i + 1]}`) : lines.length;
      const placed = lines.slice(lines.indexOf(`policy ${policy}`), end).filter((line) => /placed on \[/.test(line));
      expect(placed.length, policy).toBeGreaterThan(0);
      expect(placed.filter((line) => !line.includes('[WebGpuExecutionProvider]'))).toEqual([]);
    }
    await own.close();
  });

  it.each(Object.keys(POLICIES))('evicts under %s what Node evicts', async (policy) => {
    const cache = anyCache(policy, 8, await node.calibrate());
    const options = { cache, chunkLength: 6 };
    const score = await page.evaluate(([text, given]) => globalThis.model.score(text, given), [TEXT, options] as const);
    const expected = await node.score(TEXT, options);
    expect(largest(score, expected)).toBeLessThan(cache.buffer === 'int8' ? 0.1 : 2e-4);
    expect(messages.splice(0)).toEqual([]);
  });
});

afterAll(() => browser?.close());
