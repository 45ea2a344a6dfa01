/**
 * @file The sides of the benchmark in a browser. Each is a page of a Chromium of its own, and does one thing at a time
 * when told to.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { type BrowserServer, chromium, type Page, type Worker as PageWorker } from 'playwright-core';
import type { WorkerCache, WorkerModel } from '../../src/exports/web.ts';
import { CHROMIUM_FLAGS, CHROMIUM_PATH } from '../../test/support/browser.ts';
import type {} from '../../test/web/page.ts';

/** What is measured: a prompt, and tokens after it. */
export interface Job {
  readonly prompt: readonly number[];
  readonly newTokens: number;
  /** Another one in each round: nothing that was read before is used again. */
  readonly round: number;
}

export interface Figures {
  /** Tokens a second, up to the first token. */
  readonly prompt: number;
  /** Tokens a second after the first token. */
  readonly decode: number;
}

/** How a side is loaded, and what it does, in a page of the benchmark's server. */
export interface Side {
  readonly name: string;
  load(page: Page, threads: number): Promise<void>;
  run(page: Page, job: Job): Promise<Figures>;
}

declare global {
  var model: WorkerModel;
  var wllama: Wllama;
}

/** @param weights how this library stores matrices. */
export function keyholdSide(weights: 'float32' | 'int8'): Side {
  return {
    name: `Keyhold ${weights}`,
    async load(page, threads) {
      await page.goto('/keyhold');
      await page.waitForFunction(() => 'page' in globalThis);
      await page.evaluate(
        async (options) => {
          globalThis.model = await globalThis.page.load(options, '/checkpoint/');
        },
        { threads, weights },
      );
    },
    run: (page, job) =>
      page.evaluate(async ({ prompt, newTokens }) => {
        const cache: WorkerCache = await globalThis.model.createCache({ policy: 'dense', cacheLength: 1024 });
        const start = performance.now();
        const options = { cache, maxNewTokens: newTokens, temperature: 0, eosTokenIds: [] };
        const { timings } = await globalThis.model.generate(prompt, options).result();
        const decodeMs = performance.now() - start - timings.prefillMs;
        await cache.dispose();
        return {
          prompt: (1000 * prompt.length) / timings.prefillMs,
          decode: (1000 * (newTokens - 1)) / decodeMs,
        };
      }, job),
  };
}

/** The little of wllama that is used. */
interface Wllama {
  loadModel(files: readonly Blob[], options: Record<string, unknown>): Promise<void>;
  createCompletion(options: Record<string, unknown>): Promise<AsyncIterable<Completion>>;
}
interface Completion {
  readonly usage?: { readonly prompt_tokens: number };
  readonly timings?: { readonly prompt_n: number };
  readonly choices: readonly unknown[];
}

/** llama.cpp in WebAssembly, in the build that the package takes by itself. @param file of the benchmark's server. */
export function wllamaSide(name: string, file: string): Side {
  return {
    name,
    async load(page, threads) {
      await page.goto('/empty');
      await page.evaluate(
        async (options) => {
          const module = '/wllama/index.js';
          const { Wllama } = await import(module);
          const quiet = { debug() {}, log() {}, warn() {}, error() {} };
          globalThis.wllama = new Wllama(
            { default: '/wllama/wasm/wllama.wasm' },
            { suppressNativeLog: true, logger: quiet },
          );
          const blob = await (await fetch(options.file)).blob();
          await globalThis.wllama.loadModel([blob], {
            ...{ n_threads: options.threads, n_gpu_layers: 0, n_ctx: 1024, n_batch: 256 },
          });
        },
        { file, threads },
      );
    },
    run: (page, job) =>
      page.evaluate(async ({ prompt, newTokens, round }) => {
        // Tokens of this file's vocabulary are bytes.
        const text = Array.from({ length: prompt.length - 8 }, (_, i) =>
          String.fromCharCode(97 + ((i * 7 + round) % 26)),
        );
        const start = performance.now();
        const events = await globalThis.wllama.createCompletion({
          ...{ prompt: text.join(''), max_tokens: newTokens, temperature: 0, cache_prompt: false },
          ...{ ignore_eos: true, stream: true, stream_options: { include_usage: true } },
        });
        const times: number[] = [];
        let tokens = 0;
        for await (const { usage, timings, choices } of events) {
          if (choices.length > 0) times.push(performance.now());
          tokens = usage?.prompt_tokens ?? timings?.prompt_n ?? tokens;
        }
        if (tokens === 0) throw new Error('wllama did not say how many tokens the prompt had');
        return {
          prompt: (1000 * tokens) / (times[0] - start),
          decode: (1000 * (times.length - 1)) / (times.at(-1)! - times[0]),
        };
      }, job),
  };
}

/** The little of transformers.js that is used. */
interface Transformers {
  readonly env: Record<string, unknown> & {
    readonly backends: { readonly onnx: { readonly wasm: { wasmPaths: string; numThreads: number } } };
  };
  readonly AutoModelForCausalLM: {
    from_pretrained(
      name: string,
      options: Record<string, unknown>,
    ): Promise<{
      generate(options: Record<string, unknown>): Promise<unknown>;
    }>;
  };
  readonly Tensor: new (type: 'int64', data: BigInt64Array, dims: readonly number[]) => unknown;
}

/** transformers.js in a worker, on an export of the same model. */
export function transformersSide(dtype: string): Side {
  const workerOf = (page: Page): PageWorker => page.workers()[0];
  return {
    name: `transformers.js ${dtype}`,
    async load(page, threads) {
      await page.goto('/empty');
      const made = page.waitForEvent('worker');
      await page.evaluate(() => {
        new Worker('/transformers-worker.js', { type: 'module' });
      });
      await made;
      await workerOf(page).evaluate(
        async (options) => {
          const scope = globalThis as unknown as { library: Transformers; peer: unknown };
          while (!scope.library) await new Promise((done) => setTimeout(done, 20));
          const { env, AutoModelForCausalLM } = scope.library;
          Object.assign(env, {
            ...{ allowRemoteModels: false, allowLocalModels: true, localModelPath: '/onnx/', useBrowserCache: false },
          });
          env.backends.onnx.wasm.wasmPaths = '/transformers-ort/';
          env.backends.onnx.wasm.numThreads = options.threads;
          scope.peer = await AutoModelForCausalLM.from_pretrained('export', {
            ...{ dtype: options.dtype, device: 'wasm', use_external_data_format: true },
          });
        },
        { threads, dtype },
      );
    },
    run: (page, job) =>
      workerOf(page).evaluate(async ({ prompt, newTokens }) => {
        const { library, peer } = globalThis as unknown as {
          library: Transformers;
          peer: { generate(options: Record<string, unknown>): Promise<unknown> };
        };
        const dims = [1, prompt.length];
        const times: number[] = [];
        // The prompt itself is told of first, then each token.
        const streamer = { put: () => void times.push(performance.now()), end: () => {} };
        const start = performance.now();
        await peer.generate({
          inputs: new library.Tensor('int64', BigInt64Array.from(prompt, BigInt), dims),
          attention_mask: new library.Tensor('int64', new BigInt64Array(prompt.length).fill(1n), dims),
          ...{ max_new_tokens: newTokens, do_sample: false, streamer },
        });
        return {
          prompt: (1000 * prompt.length) / (times[1] - start),
          decode: (1000 * (newTokens - 1)) / (times[newTokens] - times[1]),
        };
      }, job),
  };
}

/** A side in its Chromium. */
export class OpenSide {
  readonly name: string;
  readonly #side: Side;
  readonly #server: BrowserServer;
  readonly #page: Page;

  private constructor(side: Side, server: BrowserServer, page: Page) {
    this.name = side.name;
    this.#side = side;
    this.#server = server;
    this.#page = page;
  }

  static async open(side: Side, baseURL: string, threads: number): Promise<OpenSide> {
    const server = await chromium.launchServer({ executablePath: CHROMIUM_PATH, args: [...CHROMIUM_FLAGS] });
    const browser = await chromium.connect(server.wsEndpoint());
    const page = await browser.newPage({ baseURL });
    // The loader of TypeScript marks functions with it, those that are sent to the page among them.
    await page.addInitScript('globalThis.__name = (given) => given');
    const open = new OpenSide(side, server, page);
    try {
      await side.load(page, threads);
    } catch (error) {
      await open.close();
      throw error;
    }
    return open;
  }

  run(job: Job): Promise<Figures> {
    return this.#side.run(this.#page, job);
  }

  /** The most that the page's process had resident; files that it shares with others included. Linux only. */
  peakBytes(): number {
    const peaks = descendants(this.#server.process().pid!)
      .filter((pid) => read(pid, 'cmdline').includes('--type=renderer'))
      .map((pid) => 1024 * Number(/^VmHWM:\s*(\d+) kB$/m.exec(read(pid, 'status'))?.[1] ?? 0));
    return Math.max(0, ...peaks);
  }

  close(): Promise<void> {
    return this.#server.close();
  }
}

function read(pid: number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    return ''; // It has ended.
  }
}

/** Processes that a process started, and theirs. */
function descendants(root: number): number[] {
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const children = new Map<number, number[]>();
  for (const pid of all.map(Number)) {
    const parent = Number(/^PPid:\s*(\d+)$/m.exec(read(pid, 'status'))?.[1] ?? 0);
    children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const found = [root];
  for (const pid of found) found.push(...(children.get(pid) ?? []));
  return found;
}
