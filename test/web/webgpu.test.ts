/**
 * keyhold/web on WebGPU, in Chromium with a graphics card in software: the same answers as in Node. It is slow, so texts are short.
 */
import { join } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type LanguageModel, loadModel, type ScoreResult } from '../../src/node.ts';
import {
  bundle,
  hasChromium,
  launchChromium,
  openPage,
  RUNTIME_FILES,
  type Site,
  serveSite,
  WITHOUT_CHROMIUM,
} from '../support/browser.ts';
import type {} from './page.ts';

const MODELS = join(import.meta.dirname, '../../models');
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
  let node: LanguageModel;
  let page: Page;
  let messages: string[];

  beforeAll(async () => {
    const { files } = await bundle({ page: 'test/web/page.ts', thread: 'src/web/thread.ts' });
    const html =
      '<!doctype html><title>test</title><link rel="icon" href="data:,"><script type="module" src="/page.js"></script>';
    site = await serveSite({
      folders: { '/ort/': RUNTIME_FILES, '/models/': MODELS },
      files: new Map<string, Uint8Array | string>([...files, ['', html]]),
      isolated: false,
    });
    node = await loadModel('keyhold/tiny', { engine: 'onnx', weights: 'float32' });
    ({ page, messages } = await openPage(browser!, site.url));
    await page.waitForFunction(() => 'page' in globalThis);
  });

  afterAll(async () => {
    await site?.close();
    await node?.dispose();
  });

  const largest = (a: ScoreResult, b: ScoreResult): number => {
    expect(a.tokens.map(({ token }) => token)).toEqual(b.tokens.map(({ token }) => token));
    return Math.max(...a.tokens.map(({ logprob }, i) => Math.abs((logprob ?? 0) - (b.tokens[i].logprob ?? 0))));
  };

  it('gives the log-probabilities of Node, in chunks and token by token', async () => {
    const scores = await page.evaluate(async (text) => {
      const model = await globalThis.page.load({ device: 'webgpu' });
      const all = [
        await model.score(text, { chunkLength: 8 }),
        await model.score(text.slice(0, 20), { chunkLength: 1 }),
      ];
      await model.dispose();
      return all;
    }, TEXT);
    expect(largest(scores[0], await node.score(TEXT, { chunkLength: 8 }))).toBeLessThan(2e-4);
    expect(largest(scores[1], await node.score(TEXT.slice(0, 20)))).toBeLessThan(2e-4);
    expect(messages).toEqual([]);
  });
});

afterAll(() => browser?.close());
