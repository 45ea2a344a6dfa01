/**
 * keyhold/web in Chromium, with ONNX Runtime's WebAssembly build: the same answers as in Node.
 */
import { dirname, join, relative } from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { POLICIES } from '../../src/kvcache/policies.ts';
import type { LanguageModel, ScoreResult } from '../../src/node.ts';
import { loadModel } from '../../src/node.ts';
import {
  hasChromium,
  launchChromium,
  libraryPage,
  openPage,
  RUNTIME_FILES,
  type Site,
  serveSite,
  WITHOUT_CHROMIUM,
} from '../support/browser.ts';
import { caseFolder, FAMILY_CASES } from '../support/family-cases.ts';
import { anyCache } from '../support/policy-names.ts';
import type {} from './page.ts';

if (!hasChromium) process.stderr.write(`test/web: ${WITHOUT_CHROMIUM}\n`);

const TEXT = 'And it came to pass in those days, that there went out a decree from the king, and all the people heard.';
const BUFFERS = ['float32', 'float16', 'int8', 'int4'] as const;
/** Experts, a latent attention, recurrences, shared keys and values with several streams. */
const FAMILIES = ['mixtral', 'deepseek_v2', 'recurrent_gemma', 'qwen3_next', 'jamba', 'gemma3n'];
const FIXTURES = dirname(FAMILY_CASES);
/**
 * Largest difference of a token's log-probability: WebAssembly sums in another order, and rounds slots at other
 * borders.
 */
const TOLERANCE = { float32: 2e-4, float16: 5e-3, int8: 0.1, int4: 0.6 } as const;

describe.skipIf(!hasChromium)('a model in Chromium', () => {
  let browser: Browser;
  let isolated: Site;
  let plain: Site;
  let node: LanguageModel;

  beforeAll(async () => {
    const library = await libraryPage({ counted: 'test/web/counted.ts' });
    isolated = await serveSite({ ...library, isolated: true });
    const folders = { ...library.folders, '/fixtures/': FIXTURES };
    plain = await serveSite({ ...library, folders, isolated: false });
    browser = await launchChromium();
    node = await loadModel('keyhold/tiny', { engine: 'onnx', weights: 'float32' });
  });

  afterAll(async () => {
    await browser?.close();
    await isolated?.close();
    await plain?.close();
    await node?.dispose();
  });

  const open = async (site: Site): Promise<{ page: Page; messages: string[] }> => {
    const opened = await openPage(browser, site.url);
    await opened.page.waitForFunction(() => 'page' in globalThis);
    return opened;
  };

  const largest = (a: ScoreResult, b: ScoreResult): number => {
    expect(a.tokens.map(({ token }) => token)).toEqual(b.tokens.map(({ token }) => token));
    return Math.max(...a.tokens.map(({ logprob }, i) => Math.abs((logprob ?? 0) - (b.tokens[i].logprob ?? 0))));
  };

  it('loads formats and templates with the first request that has them', async () => {
    const { page, messages } = await open(plain);
    const results = await page.evaluate(async () => {
      // This page is not isolated: there is one thread, and ONNX Runtime is not asked for two, of which it would warn.
      const model = await globalThis.page.load({ threads: 2 });
      const format = { type: 'regex', pattern: '[ab]{5}' } as const;
      const template = '{% for m in messages %}{{ m.content }}{% endfor %}';
      const user = { role: 'user', content: 'And it came to pass' };
      const shaped = (await model.generate('And', { format, maxNewTokens: 9 }).result()).text;
      const chat = await model.chat([user], { template, maxNewTokens: 3, temperature: 0 }).result();
      const sampling = { maxNewTokens: 3, temperature: 0, addSpecialTokens: false };
      const plainly = await model.generate(user.content, sampling).result();
      const batch: string[] = [];
      for await (const event of model.generateBatch(['And', 'The'], { format, maxNewTokens: 9 }))
        if (event.type === 'end') batch.push(event.result.text);
      const bad = await model
        .generate('And', { format: { type: 'regex', pattern: '(' } })
        .result()
        .catch((error: Error) => error.name);
      await model.dispose();
      return { shaped, chat: chat.text, plainly: plainly.text, batch, bad };
    });
    for (const text of [results.shaped, ...results.batch]) expect(text).toMatch(/^[ab]{5}$/);
    expect(results.batch).toHaveLength(2);
    expect(results.chat).toBe(results.plainly);
    expect(results.bad).toBe('FormatError');
    expect(messages).toEqual([]);
    await page.close();
  });

  it('gives the log-probabilities of Node under all policies and buffers, with one thread and two', async () => {
    const table = await node.calibrate();
    const cases = [
      ...Object.keys(POLICIES).map((policy) => anyCache(policy, 16, table)),
      ...BUFFERS.flatMap((buffer) =>
        ['dense', 'h2o', ...(buffer === 'int4' ? ['qh2o'] : [])].map((policy) => ({
          ...anyCache(policy, 16, table),
          buffer,
        })),
      ),
    ];
    for (const [site, threads] of [
      [plain, 1],
      [isolated, 2],
    ] as const) {
      const { page, messages } = await open(site);
      const results = await page.evaluate(
        async ([text, all, count]) => {
          const model = await globalThis.page.load({ threads: count });
          const scores: ScoreResult[] = [];
          for (const cache of all) scores.push(await model.score(text, { cache, chunkLength: 8 }));
          await model.dispose();
          return { scores, isolated: globalThis.crossOriginIsolated };
        },
        [TEXT, cases, threads] as const,
      );
      expect(results.isolated).toBe(threads > 1);
      for (const [i, cache] of cases.entries()) {
        const expected = await node.score(TEXT, { cache, chunkLength: 8 });
        expect(largest(results.scores[i], expected), `${cache.policy} ${cache.buffer}`).toBeLessThan(
          TOLERANCE[cache.buffer],
        );
      }
      expect(messages).toEqual([]);
      await page.close();
    }
  });

  it('computes families whose parts are loaded when a model has them', async () => {
    const { page, messages } = await open(plain);
    const tokens = [5, 9, 2, 17, 30, 4, 11];
    for (const family of FAMILIES) {
      const folder = caseFolder(family);
      const score = await page.evaluate(
        async ([path, ids]) => {
          const model = await globalThis.page.load({ weights: 'float32' }, `/fixtures/${path}/`);
          const scored = await model.score(ids, { chunkLength: 3 });
          await model.dispose();
          return scored;
        },
        [relative(FIXTURES, folder), tokens] as const,
      );
      await using same = await loadModel(folder, { engine: 'onnx', weights: 'float32' });
      expect(largest(score, await same.score(tokens, { chunkLength: 3 })), family).toBeLessThan(TOLERANCE.float32);
    }
    expect(messages).toEqual([]);
    await page.close();
  });

  it('computes with 8-bit rows what float32 gives, nearly', async () => {
    const { page } = await open(isolated);
    const results = await page.evaluate(async (text) => {
      const model = await globalThis.page.load({
        ...{ threads: 1, weights: 'int8' },
        worker: () => new Worker('/counted.js', { type: 'module' }),
      });
      const format = model.weights;
      const scores = [await model.score(text), await model.score(text, { chunkLength: 1 })];
      const { sessions } = await globalThis.page.counted();
      await model.dispose();
      return { format, scores, sessions };
    }, TEXT);
    expect(results.format).toBe('int8');
    // No file of weights is read twice: a session would be made again of files that stay in memory.
    expect(results.sessions).toBe(1);
    const expected = await node.score(TEXT);
    for (const score of results.scores) {
      expect(largest(score, expected)).toBeLessThan(0.25);
      expect(Math.abs(score.perplexity / expected.perplexity - 1)).toBeLessThan(0.02);
    }
    await page.close();
  });

  it('generates what Node generates, beyond its budget, and tells of each eviction', async () => {
    const options = { maxNewTokens: 40, temperature: 0, cache: { policy: 'h2o', cacheLength: 16 } };
    const expected = await node.generate('In the beginning', options).text();
    const { page } = await open(isolated);
    const { text, evicted } = await page.evaluate(async (given) => {
      const model = await globalThis.page.load({ threads: 1 });
      const cache = await model.createCache(given.cache);
      let count = 0;
      cache.on('step', ({ groups }) => {
        for (const group of groups) count += group.evicted.length;
      });
      const result = await model.generate('In the beginning', { ...given, cache }).text();
      await model.dispose();
      return { text: result, evicted: count };
    }, options);
    expect(text).toBe(expected);
    expect(evicted).toBeGreaterThan(100);
    await page.close();
  });

  it('begins no step after an abort, and goes on with the next request', async () => {
    const { page } = await open(isolated);
    const { steps, name, rest } = await page.evaluate(async () => {
      const model = await globalThis.page.load({
        threads: 1,
        worker: () => new Worker('/counted.js', { type: 'module' }),
      });
      const aborter = new AbortController();
      let name = '';
      try {
        const run = model.generate('Once', { maxNewTokens: 400, eosTokenIds: [], signal: aborter.signal });
        let count = 0;
        for await (const _ of run) if (++count === 5) aborter.abort();
      } catch (error) {
        name = (error as Error).name;
      }
      const steps = await globalThis.page.counted();
      const rest = await model.generate('Once', { maxNewTokens: 3, temperature: 0 }).text();
      await model.dispose();
      return { steps, name, rest };
    });
    // One that runs when the abort comes is done.
    expect(steps.afterAbort).toBe(0);
    // Each session has a copy of the weights: chunks of a prompt and single tokens are computed by the same one.
    expect(steps.sessions).toBe(1);
    expect(steps.all).toBeGreaterThanOrEqual(5);
    expect(steps.all).toBeLessThan(400);
    expect(name).toBe('AbortError');
    expect(rest.length).toBeGreaterThan(0);
    await page.close();
  });

  it('takes no more memory after 500 steps', async () => {
    const { page } = await open(isolated);
    const heaps = await page.evaluate(async () => {
      const model = await globalThis.page.load({ threads: 1 });
      const measure = async () =>
        (
          await (
            performance as unknown as { measureUserAgentSpecificMemory(): Promise<{ bytes: number }> }
          ).measureUserAgentSpecificMemory()
        ).bytes;
      const run = (maxNewTokens: number) =>
        model
          .generate('In the beginning', {
            maxNewTokens,
            temperature: 1,
            seed: 1,
            eosTokenIds: [],
            cache: { policy: 'h2o', cacheLength: 32 },
          })
          .result();
      await run(100);
      const before = await measure();
      await run(400);
      const later = await measure();
      await model.dispose();
      return [before, later];
    });
    expect(heaps[1] - heaps[0]).toBeLessThan(12e6);
    await page.close();
  });

  it('loads files that were chosen, and says what is wrong with those that are no model', async () => {
    const { page } = await open(plain);
    await page.route('**/page/*', (route) => {
      const isScript = route.request().url().endsWith('.mjs');
      if (isScript) return route.fulfill({ path: join(RUNTIME_FILES, 'ort-wasm-simd-threaded.mjs') });
      return route.fulfill({ body: '<!doctype html>', contentType: 'text/html' });
    });
    await page.route('**/text/*', (route) => route.fulfill({ body: 'x', contentType: 'text/plain' }));
    const { text, errors } = await page.evaluate(async () => {
      const names = ['config.json', 'tokenizer.json', 'tokenizer_config.json', 'model.safetensors'];
      const files = await Promise.all(
        names.map(async (name) => new File([await (await fetch(`/models/tiny/${name}`)).blob()], name)),
      );
      const progress: string[] = [];
      const model = await globalThis.page.load({ onProgress: ({ stage }) => progress.push(stage) }, files);
      const text = await model.generate('In the', { maxNewTokens: 4, temperature: 0 }).text();
      await model.dispose();
      const fails = async (run: () => Promise<unknown>) => {
        try {
          await run();
          return 'no error';
        } catch (error) {
          return `${(error as Error).name}: ${(error as Error).message}`;
        }
      };
      return {
        text,
        progress,
        errors: [
          await fails(() => globalThis.page.load({}, files.slice(0, 3))),
          await fails(() => globalThis.page.load({}, '/models/none/')),
          await fails(() => globalThis.page.load({ runtimeFiles: '' })),
          await fails(() => globalThis.page.load({ worker: () => new Worker('/none.js', { type: 'module' }) })),
          await fails(() => globalThis.page.load({ runtimeFiles: '/none/' })),
          // The page itself, as servers of pages with one address send it, and a script that comes as a text.
          await fails(() => globalThis.page.load({ runtimeFiles: '/page/' })),
          await fails(() => globalThis.page.load({ runtimeFiles: '/text/' })),
        ],
      };
    });
    expect(text).toBe(await node.generate('In the', { maxNewTokens: 4, temperature: 0 }).text());
    expect(errors[0]).toMatch(/^CheckpointError: .*no weights/);
    expect(errors[1]).toMatch(/^CheckpointError: .*\/models\/none\/config\.json: the server does not have this file/);
    expect(errors[2]).toMatch(/^InputError: loadModel needs the option runtimeFiles/);
    expect(errors[3]).toMatch(/^WorkerError: the worker of the model has crashed: .*onnxruntime-web, a bundler that/);
    const hint =
      /; the option runtimeFiles is the URL of a folder with ort-wasm-simd-threaded\.mjs and .*onnxruntime-web/;
    for (const [i, wrong] of [
      '/none/ort-wasm-simd-threaded.mjs: the server answered 404',
      '.wasm comes as text/html',
      '.mjs comes as text/plain',
    ].entries()) {
      expect(errors[4 + i]).toMatch(/^EngineError: ONNX Runtime can't be started: http/);
      expect(errors[4 + i]).toContain(wrong);
      expect(errors[4 + i]).toMatch(hint);
    }
    await page.close();
  });
});
