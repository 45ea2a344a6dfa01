/**
 * The page of web/ in Chromium: loading, text, budgets, two policies, keyboard, screen reader, small screens, offline.
 */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  accessibilityViolations,
  buildPage,
  hasChromium,
  launchChromium,
  openPage,
  type Site,
  serveSite,
  WITHOUT_CHROMIUM,
} from '../support/browser.ts';
import { startHubOf } from '../support/hub-models.ts';

if (!hasChromium) process.stderr.write(`test/web/page: ${WITHOUT_CHROMIUM}\n`);

/** Where screenshots are put, if anywhere. */
const SHOTS = process.env.KEYHOLD_SHOTS;
/** A GGUF file of SmolLM2-135M-Instruct. */
const SMOLLM2 = process.env.KEYHOLD_SMOLLM2;
const MOST_PAGE_BYTES = 20_000;

describe.skipIf(!hasChromium)('the page', () => {
  let browser: Browser;
  let folder: string;
  let site: Site;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'keyhold-page-'));
    await buildPage(folder);
    site = await serveSite({ folders: { '/': folder }, isolated: true });
    browser = await launchChromium();
  });

  afterAll(async () => {
    await browser?.close();
    await site?.close();
    await rm(folder, { recursive: true, force: true });
  });

  const isReady = (page: Page) =>
    page.waitForFunction(() => /^Ready/.test(document.getElementById('status')!.textContent!));
  const open = async (): Promise<{ page: Page; messages: string[] }> => {
    const opened = await openPage(browser, site.url);
    await isReady(opened.page);
    return opened;
  };
  /** Continues the text with so many tokens. */
  const write = async (page: Page, tokens: number, text = 'In the beginning', timeout = 30_000) => {
    await page.fill('#count', String(tokens));
    await page.fill('#prompt', text);
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => (document.getElementById('stop') as HTMLButtonElement).disabled, null, {
      timeout,
    });
    await isReady(page);
  };
  const numbers = (page: Page) => page.locator('.side p:nth-of-type(2)').allTextContents();
  /** Moves the slider to a number of slots that it has. */
  const setBudget = (page: Page, slots: number, slider = '#budget') =>
    page.locator(slider).evaluate((slider: HTMLInputElement, wanted) => {
      for (let step = 0; step <= Number(slider.max); step++) {
        slider.value = String(step);
        slider.dispatchEvent(new Event('input'));
        if (slider.ariaValueText!.startsWith(`${wanted} slots`)) break;
      }
      slider.dispatchEvent(new Event('change', { bubbles: true }));
    }, slots);
  const shoot = async (page: Page, name: string) => {
    if (SHOTS) await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
  };

  it('writes text, keeps within its budget, and says what was evicted where', async () => {
    const { page, messages } = await open();
    await page.setViewportSize({ width: 1200, height: 760 });
    await write(page, 60);
    await shoot(page, 'page-light');
    expect((await page.locator('.answers span').textContent())!.length).toBeGreaterThan(60);
    expect((await numbers(page))[0]).toMatch(/tokens\/s · 48 of 6\d tokens held · 1\d evicted · .* of /);
    // The picture is read with the keyboard: the first cells are those of evicted or held tokens.
    await page.focus('canvas');
    for (let i = 0; i < 20; i++) await page.press('canvas', 'ArrowLeft');
    const about = await page.locator('.side p:nth-of-type(1)').textContent();
    expect(about).toMatch(/^token \d+ ".*": (held|held by \d+ % of the groups|not held) in layer 0/);
    const texts: string[] = [];
    for (let i = 0; i < 40; i++) {
      await page.press('canvas', 'ArrowLeft');
      texts.push((await page.locator('.side p:nth-of-type(1)').textContent())!);
    }
    expect(texts.some((text) => /evicted by h2o after token \d+ in layer/.test(text))).toBe(true);
    await page.click('.side summary');
    await expect.poll(() => page.locator('tbody tr').count()).toBe(6);
    const rows = await page.locator('tbody tr').allTextContents();
    // The tokens that it holds are those of the picture.
    for (const row of rows) {
      const [, evicted, seen, tokens] = row.match(/^\d48\.0(\d+)\.0(6\d)(0.*)$/)!;
      expect(Number(evicted)).toBe(Number(seen) - 48);
      const ranges = tokens.split(', ').map((range) => range.split('–').map(Number));
      expect(ranges.reduce((sum, [from, to = from]) => sum + to - from + 1, 0)).toBeGreaterThanOrEqual(48);
    }
    await page.focus('canvas');
    await page.press('canvas', 'Home');
    const chosen = () => page.locator('.side p:nth-of-type(1)').textContent();
    await expect.poll(chosen).toMatch(/^token 0 ".*": held/);
    await page.press('canvas', 'PageDown');
    await expect.poll(chosen).toMatch(/^token 7 /);
    await page.press('canvas', 'End');
    await expect.poll(chosen).toMatch(/^token 6\d /);
    await page.press('canvas', 'Enter');
    expect(await page.locator('.side select').inputValue()).not.toBe('');
    // Rows may be the query groups of one layer, which hold different tokens under this policy.
    await page.selectOption('.side select', '2');
    const groups = await page.locator('tbody tr').allTextContents();
    expect(groups.length).toBeGreaterThan(1);
    expect(groups.length).toBeLessThan(6);
    for (const row of groups) expect(row).toMatch(/^\d48\.01\d\.06\d0/);
    expect(await page.locator('thead').textContent()).toBe('groupheldevictedseentokens held');
    const inGroups: string[] = [];
    for (let i = 0; i < 60; i++) {
      await page.press('canvas', i === 0 ? 'ArrowDown' : 'ArrowLeft');
      inGroups.push((await page.locator('.side p:nth-of-type(1)').textContent())!);
    }
    expect(
      inGroups.some((text) => /: held in group 1 of layer 2; evicted by h2o after token \d+ in group/.test(text)),
    ).toBe(true);
    await shoot(page, 'page-groups');
    // Twice on a row, and rows are layers again.
    await page.dblclick('canvas', { position: { x: 40, y: 20 } });
    expect(await page.locator('tbody tr').count()).toBe(6);
    expect(messages).toEqual([]);
    await page.close();
  });

  it('goes on with a text without more of it, and paints its picture anew in other colours', async () => {
    const { page } = await open();
    await page.emulateMedia({ colorScheme: 'light' });
    await write(page, 8);
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => document.querySelectorAll('.answers').length === 2);
    await isReady(page);
    expect(await page.locator('.turn:not(.answers)').count()).toBe(1);
    expect((await page.locator('.answers span').last().textContent())!.length).toBeGreaterThan(4);
    const colour = () =>
      page.evaluate(() => {
        const canvas = document.querySelector('canvas')!;
        return [...canvas.getContext('2d')!.getImageData(canvas.width / 12, canvas.height / 12, 1, 1).data].join();
      });
    const light = await colour();
    await page.emulateMedia({ colorScheme: 'dark' });
    await expect.poll(colour).not.toBe(light);
    // Colours that the user has chosen for text do not make all cells the same.
    await page.emulateMedia({ colorScheme: 'light', forcedColors: 'active' });
    await expect.poll(colour).toBe(light);
    await page.close();
  });

  it('says what is wrong with a file that is no model, and that there is no model any more', async () => {
    const { page } = await open();
    await page.setInputFiles('#files', { name: 'notes.json', mimeType: 'application/json', buffer: Buffer.from('{}') });
    await page.waitForFunction(() => document.getElementById('status')!.className === 'error');
    expect(await page.locator('#status').textContent()).toMatch(/there is no config\.json/);
    expect(await page.locator('#model').textContent()).toBe('no model');
    expect(await page.locator('.side').count()).toBe(0);
    expect(await page.locator('#send').isDisabled()).toBe(true);
    await page.close();
  });

  it('takes another budget, and goes on with the same text', async () => {
    const { page } = await open();
    await write(page, 12);
    const before = await page.locator('.answers span').textContent();
    await setBudget(page, 24);
    expect(await page.locator('#budget-text').textContent()).toMatch(/^24 slots = \d+ kB$/);
    await write(page, 12, ' and');
    expect((await numbers(page))[0]).toMatch(/· 24 of \d+ tokens held ·/);
    expect(await page.locator('.answers span').first().textContent()).toBe(before);
    // It ends where the model's context ends; half of the memory for each of two caches is enough for that here.
    await page.press('#budget', 'End');
    expect(await page.locator('#budget-text').textContent()).toMatch(/^4096 slots = \d+ MB$/);
    await page.selectOption('#policy-1', 'lastrec');
    await page.waitForFunction(() => document.querySelectorAll('.side').length === 2);
    expect(await page.locator('.side h3').allTextContents()).toEqual(['h2o, 4096 slots', 'lastrec, 4096 slots']);
    await page.close();
  });

  it('stops a model that is being loaded, and takes another one afterwards', async () => {
    const page = await browser.newPage();
    let goOn = () => {};
    const waits = new Promise<void>((done) => {
      goOn = done;
    });
    await page.route('**/model.safetensors', async (route) => {
      await waits;
      await route.continue();
    });
    await page.goto(site.url);
    await page.waitForFunction(() => !(document.getElementById('stop') as HTMLButtonElement).disabled);
    expect(await page.locator('#progress').isVisible()).toBe(true);
    // A choice of its caches is no reason to stop.
    await page.selectOption('#buffer', 'int8');
    await page.click('#stop');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Loading was stopped.');
    expect(await page.locator('#progress').isVisible()).toBe(false);
    expect(await page.locator('#send').isDisabled()).toBe(true);
    goOn();
    await page.setInputFiles('#files', await tinyFiles());
    await isReady(page);
    await write(page, 3);
    await page.close();
  });

  it('leaves a long answer where its reader is, and aligns text that is read from the right', async () => {
    const { page } = await open();
    await page.setViewportSize({ width: 360, height: 640 });
    await page.fill('#count', '400');
    await page.fill('#prompt', `בראשית ברא ${'אלהים '.repeat(60)}`);
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => {
      const log = document.getElementById('log')!;
      return log.scrollTop > 100 && log.scrollTop + log.clientHeight > log.scrollHeight - 40;
    });
    await page.locator('#log').evaluate((log) => log.scrollTo(0, 0));
    const length = () => page.locator('.answers span').evaluate((span) => span.textContent!.length);
    const before = await length();
    await expect.poll(length).toBeGreaterThan(before + 20);
    expect(await page.locator('#log').evaluate((log) => log.scrollTop)).toBe(0);
    expect(
      await page
        .locator('.turn span')
        .first()
        .evaluate((span) => getComputedStyle(span).direction),
    ).toBe('rtl');
    await page.click('#stop');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped.');
    expect(await page.evaluate(() => document.activeElement!.id)).toBe('prompt');
    await page.close();
  });

  it('says that a question was stopped before its answer, and answers the next one', async () => {
    const { page } = await open();
    const strict =
      "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}" +
      "{{ raise_exception('roles must alternate') }}{% endif %}{{ m.content }}\n{% endfor %}";
    await page.setInputFiles('#files', await tinyFiles(strict));
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Send');
    await isReady(page);
    await page.selectOption('#policy-1', 'lastrec');
    await page.waitForFunction(() => document.querySelectorAll('.side').length === 2);
    const question = 'Who was the king of the land, and who were his sons? '.repeat(150).trim();
    await page.fill('#prompt', question);
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => /^Reading/.test(document.getElementById('status')!.textContent!));
    await page.click('#stop');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped.');
    expect(await page.locator('.answers i').allTextContents()).toEqual(Array(2).fill('stopped before the first token'));
    expect(await page.inputValue('#prompt')).toBe(question);
    await write(page, 8, 'Who was the king?');
    for (const text of await page.locator('.answers').last().locator('span').allTextContents())
      expect(text.length).toBeGreaterThan(4);
    // An answer that was stopped is a part of the conversation.
    await page.fill('#count', '2000');
    await page.fill('#prompt', 'And then?');
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => (document.querySelectorAll('.answers span')[5]?.textContent ?? '').length > 20);
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped.');
    expect(await page.locator('.answers i').last().textContent()).toBe('stopped');
    expect(await page.inputValue('#prompt')).toBe('');
    await write(page, 5, 'And his son?');
    await page.close();
  });

  it('draws more tokens than its picture has pixels for', async () => {
    const { page, messages } = await open();
    await page.setViewportSize({ width: 360, height: 720 });
    await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
    await write(page, 3, 'And the king said unto the people, '.repeat(200), 120_000);
    const seen = Number((await page.locator('.side p:nth-of-type(2)').textContent())!.match(/of (\d+) tokens/)![1]);
    expect(seen).toBeGreaterThan(1000);
    const row = await page.evaluate(() => {
      const canvas = document.querySelector('canvas')!;
      return [...canvas.getContext('2d')!.getImageData(0, canvas.height / 12, canvas.width, 1).data];
    });
    const at = (pixel: number) => row.slice(4 * pixel, 4 * pixel + 3);
    const pixels = row.length / 4;
    // The first four tokens are orange; most of the others were evicted, and are grey; the last ones are held or new.
    const [first, middle, last] = [at(0), at(Math.floor(pixels / 2)), at(pixels - 1)];
    expect(first[0]).toBeGreaterThan(first[2] + 20);
    expect(Math.max(...middle) - Math.min(...middle)).toBeLessThan(40);
    expect(Math.max(...last) - Math.min(...last)).toBeGreaterThan(60);
    expect(await page.evaluate(() => document.getAnimations().length)).toBe(0);
    // Words without an end are broken.
    await page.setInputFiles('#files', { name: `${'x'.repeat(300)}.gguf`, mimeType: 'x/x', buffer: Buffer.from('{}') });
    await page.waitForFunction(() => document.getElementById('status')!.className === 'error');
    expect(await page.locator('#status').textContent()).toMatch(/x{300}/);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    expect(messages).toEqual([]);
    await page.close();
  });

  it('compares two policies on the same text', async () => {
    const { page, messages } = await open();
    await page.setViewportSize({ width: 1200, height: 980 });
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.selectOption('#policy-1', 'lastrec');
    await page.waitForFunction(() => document.querySelectorAll('.side').length === 2);
    await write(page, 50);
    await shoot(page, 'page-compare-dark');
    expect(await page.locator('.answers span').count()).toBe(2);
    for (const text of await numbers(page)) expect(text).toMatch(/· 48 of \d+ tokens held ·/);
    for (const text of await page.locator('.answers span').allTextContents()) expect(text.length).toBeGreaterThan(40);
    expect(messages).toEqual([]);
    await page.close();
  });

  it('compares two budgets and formats of one policy', async () => {
    const { page, messages } = await open();
    await page.setViewportSize({ width: 1200, height: 980 });
    await setBudget(page, 40);
    await page.selectOption('#policy-1', 'h2o');
    // The second cache begins as the first.
    await page.waitForFunction(() => document.querySelectorAll('h3')[1]?.textContent === 'h2o, 40 slots');
    await setBudget(page, 16, '#budget-1');
    await page.selectOption('#buffer-1', 'int8');
    await page.waitForFunction(() => document.querySelectorAll('h3')[1]?.textContent === 'h2o, 16 slots in int8');
    await write(page, 40);
    await shoot(page, 'page-budgets');
    const [one, other] = await numbers(page);
    expect(one).toMatch(/· 40 of \d+ tokens held · .* 123 kB of 123 kB ·/);
    expect(other).toMatch(/· 16 of \d+ tokens held · .* 14 kB of 14 kB ·/);
    expect(await page.locator('.answers b').allTextContents()).toEqual(['h2o, 40 slots', 'h2o, 16 slots in int8']);
    expect(messages).toEqual([]);
    await page.close();
  });

  it('brings back text, choices and what was being written when it is loaded again in the middle of an answer', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(site.url);
    await isReady(page);
    await page.selectOption('#policy-0', 'lastrec');
    await page.waitForFunction(() => document.querySelector('h3')?.textContent === 'lastrec, 48 slots');
    await setBudget(page, 24);
    await write(page, 6);
    await page.fill('#count', '1500');
    await page.fill('#prompt', ' and the king');
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => (document.querySelectorAll('.answers span')[1]?.textContent ?? '').length > 60);
    await page.fill('#prompt', 'not sent yet');
    const [whole, part] = await page.locator('.answers span').allTextContents();
    await page.reload();
    await isReady(page);
    const [first, second] = await page.locator('.answers span').allTextContents();
    expect(first).toBe(whole);
    expect(second.startsWith(part)).toBe(true);
    expect(await page.locator('.answers i').allTextContents()).toEqual(['not finished: the page was closed']);
    expect(await page.inputValue('#prompt')).toBe('not sent yet');
    expect(await page.inputValue('#count')).toBe('1500');
    expect(await page.locator('h3').textContent()).toBe('lastrec, 24 slots');
    // The cache reads the text that came back.
    await write(page, 4, ' of Judah');
    expect(Number((await numbers(page))[0].match(/24 of (\d+) tokens/)![1])).toBeGreaterThan(30);
    // Another tab begins with that text, and leaves that of this one alone.
    const tab = await context.newPage();
    await tab.goto(site.url);
    await isReady(tab);
    expect(await tab.locator('.answers').count()).toBe(3);
    await tab.click('#clear');
    await expect.poll(() => tab.locator('.answers').count()).toBe(0);
    await tab.reload();
    await isReady(tab);
    expect(await tab.locator('.answers').count()).toBe(0);
    await page.reload();
    await isReady(page);
    expect(await page.locator('.answers').count()).toBe(3);
    // Loading is no time to forget what was chosen.
    await page.route('**/model.safetensors', () => {});
    await page.reload();
    await page.waitForFunction(() => !(document.getElementById('stop') as HTMLButtonElement).disabled);
    await page.unroute('**/model.safetensors');
    await page.reload();
    await isReady(page);
    expect(await page.locator('h3').textContent()).toBe('lastrec, 24 slots');
    await context.close();
  });

  it('copies an answer, and saves the picture', async () => {
    const context = await browser.newContext({ permissions: ['clipboard-read', 'clipboard-write'] });
    const page = await context.newPage();
    await page.goto(site.url);
    await isReady(page);
    await write(page, 12);
    await page.click('text=Copy');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Copied.');
    const text = await page.locator('.answers span').textContent();
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(text!.trim());
    const [file] = await Promise.all([page.waitForEvent('download'), page.click('text=Save the picture')]);
    expect(file.suggestedFilename()).toBe('h2o-48-slots.png');
    const bytes = await readFile(await file.path());
    expect(bytes.subarray(1, 4).toString()).toBe('PNG');
    const canvas = await page.locator('canvas').evaluate(({ width, height }: HTMLCanvasElement) => [width, height]);
    expect(bytes.readUInt32BE(16)).toBe(canvas[0] + 24);
    expect(bytes.readUInt32BE(20)).toBeGreaterThan(canvas[1] + 40);
    await context.close();
  });

  it('gives a system prompt to models that chat, and more slots', async () => {
    const { page } = await open();
    expect(await page.locator('#system').isVisible()).toBe(false);
    await page.setInputFiles(
      '#files',
      await tinyFiles('{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}'),
    );
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Send');
    await isReady(page);
    expect(await page.locator('h3').textContent()).toBe('h2o, 256 slots');
    // The beginning of a text is no question.
    expect(await page.inputValue('#prompt')).toBe('');
    await page.fill('#system', 'Solomon');
    await write(page, 2, 'Who was the king?');
    await page.focus('canvas');
    const tokens: string[] = [];
    for (let i = 0; i < 12; i++) {
      await page.press('canvas', i === 0 ? 'Home' : 'ArrowRight');
      const about = page.locator('.side p:nth-of-type(1)');
      await expect.poll(() => about.textContent()).toMatch(new RegExp(`^token ${i} `));
      tokens.push((await about.textContent())!.match(/"(.*)"/)![1]);
    }
    expect(tokens.join('')).toMatch(/^system: Solomon/);
    await page.close();
  });

  it('shows at once that it stops, and reads a prompt in steps that are short', async () => {
    const { page } = await open();
    await page.selectOption('#policy-0', 'dense');
    await page.press('#budget', 'End');
    await page.waitForFunction(() => document.querySelector('h3')?.textContent === 'dense, 4096 slots');
    await page.evaluate(() => {
      const seen: string[] = [];
      Object.assign(globalThis, { seen });
      const watch = (id: string) =>
        new MutationObserver(() => seen.push(document.getElementById(id)!.textContent!)).observe(
          document.getElementById(id)!,
          { childList: true, characterData: true, subtree: true },
        );
      watch('status');
      watch('stop');
    });
    await page.fill('#prompt', 'And the king said unto the people, '.repeat(100));
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => /^Reading: \d/.test(document.getElementById('status')!.textContent!));
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped.');
    const seen = await page.evaluate(() => (globalThis as unknown as { seen: string[] }).seen);
    expect(seen.find((text) => text.startsWith('Reading: '))).toMatch(/^Reading: 64 of/);
    expect(seen).toContain('Stopping…');
    expect(await page.locator('#stop').textContent()).toBe('Stop');
    await page.close();
  });

  it('stops when Escape is pressed, and says what a dense cache lacks', async () => {
    const { page } = await open();
    await page.fill('#count', '2000');
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => (document.querySelector('.answers span')?.textContent ?? '').length > 20);
    await page.keyboard.press('Escape');
    await page.waitForFunction(() => document.getElementById('status')!.textContent === 'Stopped.');
    await page.selectOption('#policy-0', 'dense');
    await setBudget(page, 8);
    await page.waitForFunction(() => document.querySelector('h3')?.textContent === 'dense, 8 slots');
    await page.fill('#prompt', 'a text that is longer than eight tokens, as anybody can see');
    await page.press('#prompt', 'Enter');
    await page.waitForFunction(() => document.getElementById('status')!.className === 'error');
    expect(await page.locator('#status').textContent()).toMatch(/8/);
    expect(await page.locator('.answers i').last().textContent()).toMatch(/^not finished: .*8/);
    await page.close();
  });

  it('has no accessibility violations, light and dark, and fits 360 pixels', async () => {
    const { page } = await open();
    await page.selectOption('#policy-1', 'tova');
    await page.waitForFunction(() => document.querySelectorAll('.side').length === 2);
    await write(page, 30);
    expect(await accessibilityViolations(page)).toEqual([]);
    await page.setViewportSize({ width: 360, height: 720 });
    await shoot(page, 'page-360');
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(360);
    await page.close();
  });

  /** The files of the small model, as if they were chosen; with a template it chats. */
  const tinyFiles = async (template?: string) => {
    const tiny = join(folder, 'models/tiny');
    const file = (name: string, buffer: Buffer) => ({ name, mimeType: 'application/octet-stream', buffer });
    const names = await readdir(tiny);
    const files = await Promise.all(names.map(async (name) => file(name, await readFile(join(tiny, name)))));
    return template === undefined ? files : [...files, file('chat_template.jinja', Buffer.from(template))];
  };

  it('fits a window that is zoomed to 200 %, and shows the token that a finger touched', async () => {
    const context = await browser.newContext({ viewport: { width: 640, height: 400 }, hasTouch: true });
    const page = await context.newPage();
    await page.goto(site.url);
    await isReady(page);
    await write(page, 20);
    expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(640);
    await page.locator('canvas').tap({ position: { x: 12, y: 12 } });
    await expect.poll(() => page.locator('.side p').first().textContent()).toMatch(/^token 1 ".*": held in layer 0/);
    const small = await page
      .locator('button, select, textarea, summary, input:not([type=file])')
      .evaluateAll((all) =>
        all
          .filter((each) => each.checkVisibility() && each.getBoundingClientRect().height < 24)
          .map((each) => each.outerHTML),
      );
    expect(small).toEqual([]);
    await context.close();
  });

  it('works without a network after one visit, with parts that it has not used before', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    const own = await serveSite({ folders: { '/': folder }, isolated: true });
    await page.goto(own.url);
    await isReady(page);
    await page.waitForFunction(() => navigator.serviceWorker.controller !== null);
    await own.close();
    await page.reload();
    await isReady(page);
    expect(await page.locator('#status').textContent()).not.toMatch(/not isolated/);
    await write(page, 5);
    expect((await page.locator('.answers span').textContent())!.length).toBeGreaterThan(5);
    await page.setInputFiles('#files', await tinyFiles('{% for m in messages %}{{ m.content }}\n{% endfor %}'));
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Send');
    await isReady(page);
    await write(page, 5, 'Who was the king?');
    expect((await page.locator('.answers span').textContent())!.length).toBeGreaterThan(5);
    await context.close();
  });

  it('loads where the storage of the browser is full', async () => {
    const context = await browser.newContext();
    const page = await context.newPage();
    const session = await context.newCDPSession(page);
    await session.send('Storage.overrideQuotaForOrigin', { origin: new URL(site.url).origin, quotaSize: 1000 });
    for (let visit = 0; visit < 3; visit++) {
      await page.goto(site.url);
      await isReady(page);
    }
    await write(page, 5);
    expect((await page.locator('.answers span').textContent())!.length).toBeGreaterThan(5);
    await context.close();
  });

  it('loads a model of the hub, keeps it, and deletes it', async () => {
    const hub = await startHubOf('org/tiny-Instruct');
    const { page, messages } = await openPage(browser, `${site.url}?hub=${hub.endpoint}`);
    await isReady(page);
    await page.click('#hub summary');
    await page.fill('#hub-name', 'org/tiny-Instruct');
    await page.press('#hub-name', 'Enter');
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Send');
    await isReady(page);
    await write(page, 5, 'Who was the king?');
    expect((await page.locator('.answers span').textContent())!.length).toBeGreaterThan(5);
    await page.waitForFunction(() => document.querySelectorAll('#stored li').length === 2);
    // The model is in use.
    await page.click('#stored li:last-child button:last-child');
    await page.waitForFunction(() => /is in use/.test(document.getElementById('status')!.textContent!));
    // The model that was used last comes back from the browser's storage, with its text.
    await page.reload();
    await isReady(page);
    expect(await page.locator('#send').textContent()).toBe('Send');
    expect(await page.locator('.turn span').first().textContent()).toBe('Who was the king?');
    await page.click('#hub summary');
    const last = page.locator('#stored li').last();
    expect(await last.textContent()).toMatch(/^Load org\/tiny-Instruct\d+ MBDelete/);
    await page.click('text=Load keyhold/tiny');
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Continue');
    await isReady(page);
    await last.locator('button').last().click();
    await page.waitForFunction(() => document.querySelectorAll('#stored li').length === 1);
    await page.waitForFunction(
      () => document.getElementById('status')!.textContent === 'org/tiny-Instruct was deleted.',
    );
    expect(messages).toEqual([]);
    await page.close();
    await hub.close();
  });

  it.skipIf(!SMOLLM2)('opens a GGUF file, and answers a question', async () => {
    const { page, messages } = await open();
    await page.setViewportSize({ width: 1200, height: 980 });
    await setBudget(page, 64);
    await page.setInputFiles('#files', SMOLLM2!);
    await page.waitForFunction(() => document.getElementById('send')!.textContent === 'Send', null, {
      timeout: 120_000,
    });
    await isReady(page);
    await page.fill('#temperature', '0');
    await page.selectOption('#policy-1', 'lastrec');
    await page.waitForFunction(() => document.querySelectorAll('.side').length === 2);
    // Both policies make a graph of their own: 538 MB of weights each.
    await write(page, 24, 'What is the capital of France?', 120_000);
    await shoot(page, 'page-smollm2');
    for (const text of await page.locator('.answers span').allTextContents()) expect(text).toMatch(/Paris/);
    if (SHOTS) process.stderr.write(`SmolLM2 in the page: ${(await numbers(page)).join(' | ')}\n`);
    expect(messages).toEqual([]);
    await page.close();
  });

  it('is small', async () => {
    const assets = await readdir(join(folder, 'assets'));
    // The library and its worker have a budget of their own, in bundle.test.ts.
    const own = assets.filter((name) => /^(index|wasm|side|hub)-(?!model)/.test(name)).map((name) => `assets/${name}`);
    expect(own.length).toBeGreaterThan(2);
    let bytes = 0;
    for (const name of [...own, 'index.html', 'sw.js'])
      bytes += gzipSync(await readFile(join(folder, name)), { level: 9 }).length;
    expect(bytes).toBeLessThan(MOST_PAGE_BYTES);
  });
});
