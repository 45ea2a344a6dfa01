/**
 * The page of `keyhold serve` in Chromium: text by the server's routes, and what its caches hold.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser, Page } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ChatTemplate } from '../../src/exports/checkpoint.ts';
import { type RunningServer, type ServeOptions, serve } from '../../src/exports/server.ts';
import { type LanguageModel, loadModel } from '../../src/node.ts';
import { OnDemandModel } from '../../src/server/model-entry.ts';
import type { PageFiles } from '../../src/server/routes/page-files.ts';
import { readPageFiles } from '../../src/server/routes/page-node.ts';
import {
  accessibilityViolations,
  hasChromium,
  launchChromium,
  openPage,
  WITHOUT_CHROMIUM,
} from '../support/browser.ts';
import { ROOT } from '../support/example-folder.ts';
import { loadChatModel, servedModel, TEMPLATE } from '../support/served.ts';

if (!hasChromium) process.stderr.write(`test/web/served: ${WITHOUT_CHROMIUM}\n`);

const SHOTS = process.env.KEYHOLD_SHOTS;
const MOST_BYTES = 16_000;

describe.skipIf(!hasChromium)('the page of a server', () => {
  let browser: Browser;
  let folder: string;
  let files: PageFiles;
  let model: LanguageModel;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'keyhold-served-'));
    await build({
      configFile: join(ROOT, 'web/vite.config.ts'),
      root: join(ROOT, 'web'),
      mode: 'server',
      logLevel: 'silent',
      build: { outDir: folder, emptyOutDir: true },
    });
    files = (await readPageFiles(folder))!;
    model = await loadModel();
    browser = await launchChromium();
  });
  afterAll(async () => {
    await browser?.close();
    await model?.dispose();
    await rm(folder, { recursive: true, force: true });
  });

  async function open(
    options: Partial<ServeOptions> = {},
  ): Promise<{ page: Page; messages: string[]; server: RunningServer }> {
    const { one } = servedModel(model, {
      maxTokens: 200,
      cacheClasses: [
        { name: 'default', options: { policy: 'h2o', cacheLength: 48 } },
        { name: 'recent', options: { policy: 'lastrec', cacheLength: 24 } },
        { name: 'whole', options: { policy: 'dense', cacheLength: 256 } },
      ],
    });
    const server = await serve({ models: [one], port: 0, page: files, ...options });
    return { ...(await openPage(browser, server.url)), server };
  }
  const isReady = (page: Page) =>
    page.waitForFunction(() => /^Ready/.test(document.getElementById('status')!.textContent!));
  const write = async (page: Page, tokens: number, text: string) => {
    await page.fill('#count', String(tokens));
    await page.fill('#prompt', text);
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => (document.getElementById('stop') as HTMLButtonElement).disabled);
    await isReady(page);
  };

  it('continues a text under two cache classes, and shows what they hold', async () => {
    const { page, messages, server } = await open();
    await page.setViewportSize({ width: 1200, height: 980 });
    await isReady(page);
    expect(await page.locator('#model').textContent()).toMatch(/^tiny · 6 layers, context \d+/);
    expect(await page.locator('#budget').isVisible()).toBe(false);
    await page.selectOption('#policy-1', 'recent');
    await page.waitForFunction(() => document.querySelectorAll('.side').length === 2);
    await write(page, 60, 'In the beginning');
    const titles = await page.locator('.side h3').allTextContents();
    expect(titles).toEqual(['default: h2o, 48 slots', 'recent: lastrec, 24 slots']);
    for (const text of await page.locator('.answers span').allTextContents()) expect(text.length).toBeGreaterThan(60);
    const numbers = await page.locator('.side p:nth-of-type(2)').allTextContents();
    expect(numbers[0]).toMatch(/· 48 of \d+ tokens held · \d+ evicted/);
    expect(numbers[1]).toMatch(/· 24 of \d+ tokens held · \d+ evicted/);
    // The pictures are drawn for the last time when the sessions are there.
    await page.waitForFunction(() => document.querySelectorAll('button[aria-label^="Show session"]').length === 2);
    // The oldest tokens have left the cache of the recent ones.
    await page.locator('canvas').nth(1).focus();
    for (let i = 0; i < 35; i++) await page.keyboard.press('ArrowLeft');
    // The text of a token is the server's answer.
    await expect
      .poll(() => page.locator('.side').nth(1).locator('p').first().textContent())
      .toMatch(/^token \d+ ".*": not held in layer 0; evicted by recent after token \d+ in layers 0–5$/);
    await page.locator('button[aria-label^="Show session"]').first().click();
    await page.waitForFunction(() => document.querySelectorAll('.side').length === 3);
    expect(await page.locator('.side h3').last().textContent()).toMatch(/^Session [\w-]+, (default|recent): /);
    if (SHOTS) await page.screenshot({ path: join(SHOTS, 'page-served.png'), fullPage: true });
    expect(await accessibilityViolations(page)).toEqual([]);
    await page.setViewportSize({ width: 360, height: 720 });
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    expect(messages).toEqual([]);
    await page.close();
    await server.close();
  });

  it('asks for a key where the server wants one', async () => {
    const { page, server } = await open({ apiKeys: ['secret'] });
    await page.fill('input[type=password]', 'wrong');
    await page.keyboard.press('Enter');
    await page.waitForFunction(
      () => document.getElementById('status')!.textContent === 'The server does not accept this key.',
    );
    expect(await page.locator('input[type=password]').inputValue()).toBe('');
    expect(await accessibilityViolations(page)).toEqual([]);
    await page.fill('input[type=password]', 'secret');
    await page.keyboard.press('Enter');
    await isReady(page);
    await write(page, 5, 'In the beginning');
    expect((await page.locator('.answers span').textContent())!.length).toBeGreaterThan(5);
    await page.close();
    await server.close();
  });

  it('chats with a model that has a template, and goes on with the cache of its session', async () => {
    const plain = model.renderer;
    Object.assign(model, { renderer: { ...plain, template: new ChatTemplate(TEMPLATE, {}) } });
    try {
      const lines: Record<string, unknown>[] = [];
      const { page, server } = await open({ log: (line) => lines.push(line) });
      await isReady(page);
      expect(await page.locator('#send').textContent()).toBe('Send');
      await page.selectOption('#policy-0', 'whole');
      await page.waitForFunction(() => document.querySelector('h3')?.textContent === 'whole: dense, 256 slots');
      await write(page, 10, 'Who was the king?');
      await write(page, 10, 'And who was his son?');
      expect(await page.locator('.answers span').count()).toBe(2);
      const chats = lines.filter(({ path }) => path === '/v1/chat/completions');
      expect(chats).toHaveLength(2);
      expect(chats[1].cachedTokens).toBeGreaterThan(5);
      await page.close();
      await server.close();
    } finally {
      Object.assign(model, { renderer: plain });
    }
  });

  it('loads the model that is chosen, and begins anew with it', async () => {
    const second = await loadChatModel();
    const cacheClasses = [{ name: 'long', options: { policy: 'h2o', cacheLength: 96 } }] as const;
    const onDemand = new OnDemandModel({
      id: 'chats/second',
      cacheClasses,
      load: async () => servedModel(second, { id: 'chats/second', cacheClasses }).one,
      onFailure: (_, error) => {
        throw error;
      },
    });
    const { page, messages, server } = await open({ models: [onDemand, servedModel(model).one] });
    // The first one that is in memory.
    await isReady(page);
    expect(await page.locator('#model').textContent()).toMatch(/^tiny · /);
    await write(page, 5, 'In the beginning');
    await page.locator('header select:visible').selectOption('chats/second');
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Send');
    await isReady(page);
    expect(await page.locator('#model').textContent()).toMatch(/^chats\/second · 6 layers/);
    expect(await page.locator('.side h3').allTextContents()).toEqual(['long: h2o, 96 slots']);
    expect(await page.locator('.turn').count()).toBe(0);
    await write(page, 5, 'Who was the king?');
    expect((await page.locator('.answers span').textContent())!.length).toBeGreaterThan(4);
    await page.waitForFunction(() => document.querySelectorAll('button[aria-label^="Show session"]').length === 2);
    expect((await page.locator('#caches tbody tr td:nth-of-type(1)').allTextContents()).filter(Boolean).sort()).toEqual(
      expect.arrayContaining(['chats/second', 'tiny']),
    );
    await page.locator('header select:visible').selectOption('tiny');
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Continue');
    await isReady(page);
    expect(messages).toEqual([]);
    await page.close();
    await server.close();
    await onDemand.dispose();
  });

  it('says that a server has ended in the middle of an answer, and goes on when it is there again', async () => {
    const { page: unused, server } = await open();
    await unused.close();
    let isDown = false;
    // Bytes that still come through: a short answer would be complete before the server is seen to be down.
    let left = Number.POSITIVE_INFINITY;
    const sockets = new Set<Socket>();
    const between = createServer((socket) => {
      if (isDown) return void socket.destroy();
      const { hostname, port } = new URL(server.url);
      const onward = connect(Number(port), hostname);
      for (const each of [socket, onward]) {
        sockets.add(each);
        each.on('error', () => {});
      }
      socket.pipe(onward);
      onward.on('end', () => socket.end());
      onward.on('data', (bytes) => {
        socket.write(bytes.subarray(0, left));
        left -= bytes.length;
        if (left <= 0) onward.pause();
      });
    });
    await new Promise<void>((done) => between.listen(0, '127.0.0.1', done));
    const { page } = await openPage(browser, `http://127.0.0.1:${(between.address() as AddressInfo).port}/`);
    await isReady(page);
    await page.fill('#count', '190');
    await page.fill('#prompt', 'In the beginning');
    left = 6000;
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => (document.querySelector('.answers span')?.textContent ?? '').length > 10);
    isDown = true;
    for (const socket of sockets) socket.destroy();
    await page.waitForFunction(() => document.getElementById('status')!.className === 'error');
    const lost = 'the connection to the server ended before the answer was complete';
    expect(await page.locator('#status').textContent()).toBe(lost);
    expect(await page.locator('.answers i').textContent()).toBe(`not finished: ${lost}`);
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => /does not answer$/.test(document.getElementById('status')!.textContent!));
    isDown = false;
    left = Number.POSITIVE_INFINITY;
    await write(page, 5, ' and');
    expect((await page.locator('.answers span').last().textContent())!.length).toBeGreaterThan(4);
    await page.close();
    between.close();
    await server.close();
  });

  it('is small, and is found where it was built', async () => {
    const names = await readdir(join(folder, 'assets'));
    let bytes = gzipSync(await readFile(join(folder, 'index.html')), { level: 9 }).length;
    for (const name of names) bytes += gzipSync(await readFile(join(folder, 'assets', name)), { level: 9 }).length;
    expect(bytes).toBeLessThan(MOST_BYTES);
    expect(await readPageFiles('/no/such/folder')).toBeNull();
  });
});
