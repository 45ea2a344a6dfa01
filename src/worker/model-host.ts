/**
 * @file The model of a thread, and the methods that the program calls there. It runs in Node and in browsers.
 */
import type { AdapterChoice } from '../adapters/choice.ts';
import { compileTemplate } from '../chat/renderer.ts';
import type { CalibrateOptions } from '../engine/calibration/calibrate.ts';
import type { Generation } from '../engine/generation.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { BatchRequest, Prompt } from '../engine/options.ts';
import { optionsOf } from '../engine/prompt.ts';
import { loadFormats } from '../engine/text-format.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { DecodeOptions, EncodeOptions } from '../tokenizer/tokenizer.ts';
import { InputError } from '../util/errors.ts';
import { HostedCaches, importPolicy, withPolicy } from './hosted-caches.ts';
import type {
  AdapterFacts,
  BatchInput,
  BatchMessage,
  CacheRef,
  ModelFacts,
  Outcome,
  PlainBatchOptions,
  PlainGenerateOptions,
  PlainScoreOptions,
} from './protocol.ts';
import type { CallContext, Method } from './rpc.ts';
import { fromWire, Transfer, toWire } from './wire.ts';

export class ModelHost {
  readonly caches = new HostedCaches();
  #model: LanguageModel | null = null;

  get model(): LanguageModel {
    if (!this.#model) throw new InputError('no model was loaded in this thread');
    return this.#model;
  }

  /** Takes a model that was loaded. @returns what the program knows of it. */
  take(model: LanguageModel): ModelFacts {
    this.#model = model;
    const { name, config, weights, generationConfig, defaults, eosTokenIds, answerEnds, hasTokenizer } = model;
    const templates = model.chatTemplate?.sources ?? null;
    const tokenizerConfig = hasTokenizer ? model.tokenizer.config : {};
    return {
      ...{ name, config, weights, generationConfig, defaults, eosTokenIds, answerEnds, hasTokenizer },
      ...{ templates, tokenizerConfig, adapters: this.adapterFacts() },
    };
  }

  /** Options of a generation with the cache, the policy and the template that they name; what they need is loaded. */
  async resolve<T extends PlainGenerateOptions>(options: T) {
    const resolved = await this.caches.resolve(options);
    const { template, format } = options;
    if (format !== undefined) await loadFormats();
    if (typeof template !== 'string') return resolved;
    const { hasTokenizer, tokenizer } = this.model;
    return { ...resolved, template: await compileTemplate(template, hasTokenizer ? tokenizer.config : {}) };
  }

  adapterFacts(): AdapterFacts {
    const { adapters, fingerprint } = this.model;
    return { names: adapters.names, default: adapters.default, fingerprint };
  }

  async dispose(): Promise<void> {
    await this.#model?.dispose();
  }
}

/** Runs to the end, and emits each chunk of text. */
async function follow(generation: Generation, emit: CallContext['emit']): Promise<Outcome> {
  let error: unknown = null;
  try {
    for await (const chunk of generation) emit({ chunk });
  } catch (cause) {
    error = cause;
  }
  return { result: generation.partial, error: error === null ? null : toWire(error) };
}

const progress = (emit: CallContext['emit']) => (done: number, total: number) => emit({ prefill: [done, total] });

/** What a program can ask of a thread, without loading, which depends on where the thread runs. */
export function modelMethods(host: ModelHost) {
  return { ...generationMethods(host), ...cacheMethods(host), ...adapterMethods(host) } satisfies Record<
    string,
    Method
  >;
}

function generationMethods(host: ModelHost) {
  return {
    async generate(
      { prompt, options }: { prompt: Prompt; options: PlainGenerateOptions },
      { signal, emit }: CallContext,
    ) {
      const resolved = await host.resolve(options);
      await host.model.calibrateFor(optionsOf(resolved.cache), { signal });
      return follow(host.model.generate(prompt, { ...resolved, signal, onPrefill: progress(emit) }), emit);
    },

    async generateBatch({ options }: { options: PlainBatchOptions }, { signal, emit, onInput }: CallContext) {
      const tell = (message: BatchMessage) => emit(message);
      const source = new BatchSource(host, signal, tell);
      onInput((input: BatchInput) => source.take(input));
      const resolved = await host.resolve(options);
      const { cache } = resolved;
      await host.model.calibrateFor(optionsOf(cache), { signal });
      const batch = { ...resolved, cache: cache as Partial<AnyCacheOptions> | undefined, signal };
      for await (const event of host.model.generateBatch(source.requests(), batch)) {
        if (event.type !== 'text') source.aborters.delete(event.id);
        if (event.type === 'error')
          tell({ type: 'event', event: { ...event, error: null }, error: toWire(event.error) });
        else tell({ type: 'event', event, error: null });
      }
    },

    async score(
      { text, options }: { text: string | readonly number[]; options: PlainScoreOptions },
      { signal, emit }: CallContext,
    ) {
      const resolved = await host.caches.resolve(options);
      return host.model.score(text, { ...resolved, signal, onProgress: progress(emit) });
    },

    async calibrate({ options }: { options: CalibrateOptions }, { signal, emit }: CallContext) {
      return host.model.calibrate({ ...options, signal, onProgress: progress(emit) });
    },

    encode: async ({ text, options }: { text: string; options: EncodeOptions }) =>
      host.model.tokenizer.encode(text, options),
    decode: async ({ ids, options }: { ids: readonly number[]; options: DecodeOptions }) =>
      host.model.tokenizer.decode(ids, options),
    tokenBytes: async ({ id }: { id: number }) => host.model.tokenizer.tokenBytes(id),
    dispose: async () => host.dispose(),
  };
}

/** What follows in a batch. */
type NextInput = Exclude<BatchInput, { readonly abort: unknown }>;

/** The requests of a batch, which come from the program one by one as they are asked for. */
class BatchSource {
  /** By request. */
  readonly aborters = new Map<string | number, AbortController>();
  readonly #host: ModelHost;
  readonly #signal: AbortSignal;
  readonly #tell: (message: BatchMessage) => void;
  #resolve: (input: NextInput) => void = () => {};

  constructor(host: ModelHost, signal: AbortSignal, tell: (message: BatchMessage) => void) {
    this.#host = host;
    this.#signal = signal;
    this.#tell = tell;
  }

  /** What the program has sent: the next request, the end of them, or the abort of one. */
  take(input: BatchInput): void {
    if ('abort' in input) this.aborters.get(input.abort)?.abort();
    else this.#resolve(input);
  }

  async *requests(): AsyncGenerator<BatchRequest> {
    for (;;) {
      const next = new Promise<NextInput>((resolve) => {
        this.#resolve = resolve;
      });
      this.#tell({ type: 'pull' });
      const input = await next;
      if ('error' in input) throw fromWire(input.error);
      if (!('request' in input)) return;
      const id = input.request.id!;
      const resolved = await this.#host.resolve(input.request).catch((error: unknown) => this.#fail(id, error));
      if (!resolved) continue;
      await this.#host.model.calibrateFor(optionsOf(resolved.cache), { signal: this.#signal });
      const aborter = new AbortController();
      if (input.aborted) aborter.abort();
      this.aborters.set(id, aborter);
      yield { ...resolved, signal: aborter.signal };
    }
  }

  #fail(id: string | number, error: unknown): void {
    this.#tell({ type: 'event', event: { type: 'error', id, error: null, partial: null }, error: toWire(error) });
  }
}

/** A cache, and what is asked of it. */
type OfCache<T = object> = T & { readonly cache: CacheRef };

function cacheMethods(host: ModelHost) {
  const { caches } = host;
  return {
    createCache: ({ cache, options }: OfCache<{ options: Partial<AnyCacheOptions> }>) =>
      caches.make(cache, async () => {
        const given = await withPolicy(options);
        await host.model.calibrateFor(given);
        return host.model.createCache(given);
      }),
    forkCache: ({ cache, from }: OfCache<{ from: CacheRef }>) => caches.make(cache, () => caches.get(from).fork()),
    async snapshot({ cache }: OfCache) {
      return Transfer.ofBytes(await host.model.snapshot(caches.get(cache)));
    },
    restore: ({ cache, bytes, policyModule }: OfCache<{ bytes: Uint8Array; policyModule?: string }>) =>
      caches.make(cache, async () => {
        const policy = policyModule === undefined ? undefined : await importPolicy(policyModule);
        return host.model.restore(bytes, { policy });
      }),
    /** Emits the steps of a cache until it is aborted. */
    async watchCache({ cache }: OfCache, { signal, emit }: CallContext) {
      const stop = caches.get(cache).on('step', emit);
      await new Promise((done) => signal.addEventListener('abort', done));
      stop();
    },
    clearCache: async ({ cache }: OfCache) => caches.get(cache).clear(),
    truncateCache: async ({ cache, length }: OfCache<{ length: number }>) => caches.get(cache).truncate(length),
    releaseCache: async ({ cache }: OfCache) => caches.release(cache),
    tokens: async ({ cache, row }: OfCache<{ row?: number }>) => caches.get(cache).tokens(row),
    pending: async ({ cache, row }: OfCache<{ row?: number }>) => caches.get(cache).pending(row),
    stats: async ({ cache }: OfCache) => caches.get(cache).stats(),
    memory: async ({ cache }: OfCache) => caches.get(cache).memory(),
    contents: async ({ cache, row }: OfCache<{ row?: number }>) => caches.get(cache).contents(row),
    scores: async ({ cache, layer, row, group }: OfCache<{ layer: number; row?: number; group?: number }>) =>
      caches.get(cache).scores(layer, row, group),
    tokenPositions: async ({ cache, layer, row, group }: OfCache<{ layer: number; row?: number; group?: number }>) =>
      caches.get(cache).tokenPositions(layer, row, group),
  };
}

function adapterMethods(host: ModelHost) {
  return {
    async loadAdapter({ path, name }: { path: string; name: string }) {
      await host.model.adapters.load(path, name);
      return host.adapterFacts();
    },
    async useAdapters({ choice }: { choice: AdapterChoice }) {
      host.model.adapters.use(choice);
      return host.adapterFacts();
    },
    async unloadAdapter({ name }: { name: string }) {
      host.model.adapters.unload(name);
      return host.adapterFacts();
    },
  };
}
