/**
 * @file A model in a worker of the page.
 */
import {
  type Device,
  type LoadProgress,
  loadModel,
  type ModelChoice,
  type WorkerCache,
  type WorkerModel,
} from '../src/exports/web.ts';
import type { AnyCacheOptions } from '../src/kvcache/policies.ts';
import { threadCount } from '../src/web/load-model.ts';
import type { CacheChoice, Conversation, PageModel, SlotLimits, Watcher } from './engine.ts';

const POLICIES = ['h2o', 'lastrec', 'tova', 'snapkv', 'pyramid', 'expected', 'knorm', 'keydiff', 'leverage', 'dense'];

export async function openInPage(
  source: ModelChoice,
  name: string,
  device: Device,
  onProgress: (progress: LoadProgress) => void,
  signal: AbortSignal,
): Promise<PageModel> {
  const model = await loadModel(source, {
    runtimeFiles: new URL('ort/', document.baseURI),
    device,
    worker: () => new Worker(new URL('../src/web/thread.ts', import.meta.url), { type: 'module' }),
    onProgress,
    signal,
  });
  return new LocalModel(model, name, device);
}

/**
 * What all caches may take, in bytes: a quarter of the device's memory, and never more than a quarter of WebAssembly's
 * heap, which has a copy of one cache.
 */
function cacheBytes(): number {
  // Only Chromium says how much memory there is, in GiB.
  const { deviceMemory = 4 } = navigator as Navigator & { readonly deviceMemory?: number };
  return Math.min(deviceMemory / 4, 1) * 2 ** 30;
}

/**
 * A step can't be stopped once it has begun. On WebAssembly a chunk of 256 tokens took 2.0 s with 135M parameters, and
 * one of 64 takes 0.6 s; a prompt of 700 tokens is read 5 % slower (Intel Xeon, one thread).
 */
const WASM_CHUNK = 64;

const optionsOf = (choice: CacheChoice) => ({ ...choice }) as Partial<AnyCacheOptions>;

class LocalModel implements PageModel {
  readonly name: string;
  readonly about: string;
  readonly place: string;
  readonly layers: number;
  readonly isChat: boolean;
  readonly policies = POLICIES;
  readonly #model: WorkerModel;
  readonly #device: Device;

  constructor(model: WorkerModel, name: string, device: Device) {
    this.#model = model;
    this.#device = device;
    this.name = name;
    const { nLayer, contextLength } = model.config;
    this.about = `${name} · ${nLayer} layers, context ${contextLength}`;
    this.layers = nLayer;
    this.isChat = model.chatTemplate !== null;
    const threads = threadCount();
    const why = crossOriginIsolated ? '' : ' (the page is not isolated)';
    this.place = device === 'webgpu' ? 'WebGPU' : `WebAssembly, ${threads} thread${threads > 1 ? 's' : ''}${why}`;
  }

  titleOf({ policy, cacheLength, buffer }: CacheChoice): string {
    return `${policy}, ${cacheLength} slots${buffer === 'float32' ? '' : ` in ${buffer}`}`;
  }

  async slotLimits(buffer: string, caches: number): Promise<SlotLimits> {
    const cache = await this.#model.createCache(optionsOf({ policy: 'lastrec', cacheLength: 64, buffer }));
    const { keysAndValuesLimit } = await cache.memory();
    await cache.dispose();
    const bytes = keysAndValuesLimit / 64;
    const fitting = Math.floor(cacheBytes() / caches / bytes);
    return { bytes, most: Math.min(this.#model.config.contextLength, fitting) };
  }

  async converse(choice: CacheChoice, { onStep }: Watcher): Promise<Conversation> {
    const cache = await this.#model.createCache(optionsOf(choice));
    cache.on('step', onStep);
    return conversation(this.#model, cache, this.#device === 'wasm' ? WASM_CHUNK : undefined);
  }

  async decode(token: number): Promise<string> {
    return this.#model.tokenizer.decode([token]);
  }

  dispose(): Promise<void> {
    return this.#model.dispose();
  }
}

function conversation(model: WorkerModel, cache: WorkerCache, chunkLength: number | undefined): Conversation {
  return {
    async *write(input, options) {
      const all = { ...options, cache, chunkLength, reusePrefix: true, seed: 1 };
      const run = typeof input === 'string' ? model.generate(input, all) : model.chat(input, all);
      for await (const { text, tokens } of run) yield { text, tokens: tokens.length };
    },
    async report() {
      const [stats, memory, tokens] = await Promise.all([cache.stats(), cache.memory(), cache.tokens()]);
      return { stats, memory, tokens };
    },
    contents: () => cache.contents(),
    dispose: () => cache.dispose(),
  };
}
