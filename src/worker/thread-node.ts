/**
 * @file The thread that a model lives in.
 */
import { parentPort, workerData } from 'node:worker_threads';
import type { BatchRequest } from '../engine/batch.ts';
import type { Generation } from '../engine/generation.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { Prompt } from '../engine/options.ts';
import { loadCache, saveCache } from '../engine/snapshot-node.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { type LoadOptions, loadModel } from '../load/load-model-node.ts';
import { InputError } from '../util/errors.ts';
import { guarded } from './exit-guard.ts';
import type {
  BatchInput,
  BatchMessage,
  CacheRef,
  ModelFacts,
  Outcome,
  PlainBatchOptions,
  PlainGenerateOptions,
  PlainScoreOptions,
} from './protocol.ts';
import { answerer, type CallContext } from './rpc.ts';
import { fromWire, type Request, toWire } from './wire.ts';

let model: LanguageModel;
const caches = new Map<number, KVCache>();
let nextCache = 0;

function keep(cache: KVCache): CacheRef {
  caches.set(nextCache, cache);
  return { cacheId: nextCache++ };
}

function cacheOf({ cacheId }: CacheRef): KVCache {
  const cache = caches.get(cacheId);
  if (!cache) throw new InputError('this cache was released and can not be used any more');
  return cache;
}

/** Options with the caches that they name. */
function withCache<T extends { readonly cache?: CacheRef | Partial<AnyCacheOptions> }>(options: T) {
  const { cache } = options;
  return { ...options, cache: cache && 'cacheId' in cache ? cacheOf(cache as CacheRef) : cache };
}

/** Runs to the end, and tells each chunk of text. */
async function follow(generation: Generation, emit: CallContext['emit']): Promise<Outcome> {
  let error: unknown = null;
  try {
    for await (const chunk of generation) emit({ chunk });
  } catch (cause) {
    error = cause;
  }
  return { result: generation.partial, error: error === null ? null : toWire(error) };
}

const onPrefill = (emit: CallContext['emit']) => (done: number, total: number) => emit({ prefill: [done, total] });

const methods = {
  async load({ name, options }: { name: string; options: LoadOptions }, { signal, emit }: CallContext) {
    model = await loadModel(name, { ...options, signal, onProgress: emit });
    const step = model.step.bind(model);
    model.step = (...args) => guarded(workerData, () => step(...args));
    const { config, weights, fingerprint, generationConfig, eosTokenIds, hasTokenizer } = model;
    const hasChatTemplate = model.chatTemplate !== null;
    const facts: ModelFacts = {
      name: model.name,
      config,
      weights,
      fingerprint,
      generationConfig,
      eosTokenIds,
      hasTokenizer,
      hasChatTemplate,
    };
    return facts;
  },

  async generate(
    { prompt, options }: { prompt: Prompt; options: PlainGenerateOptions },
    { signal, emit }: CallContext,
  ) {
    return follow(model.generate(prompt, { ...withCache(options), signal, onPrefill: onPrefill(emit) }), emit);
  },

  async generateBatch({ options }: { options: PlainBatchOptions }, { signal, emit, onInput }: CallContext) {
    const tell = (message: BatchMessage) => emit(message);
    const aborters = new Map<string | number, AbortController>();
    let take: (input: BatchInput) => void = () => {};
    onInput((input: BatchInput) => {
      if ('abort' in input) aborters.get(input.abort)?.abort();
      else take(input);
    });
    async function* requests(): AsyncGenerator<BatchRequest> {
      for (;;) {
        const input = await new Promise<BatchInput>((resolve) => {
          take = resolve;
          tell({ type: 'pull' });
        });
        if ('error' in input) throw fromWire(input.error);
        if (!('request' in input)) return;
        const aborter = new AbortController();
        if (input.aborted) aborter.abort();
        const id = input.request.id!;
        try {
          const request = withCache(input.request);
          aborters.set(id, aborter);
          yield { ...request, signal: aborter.signal };
        } catch (error) {
          tell({ type: 'event', event: { type: 'error', id, error: null, partial: null }, error: toWire(error) });
        }
      }
    }
    const cache = options.cache as Partial<AnyCacheOptions> | undefined;
    for await (const event of model.generateBatch(requests(), { ...options, cache, signal })) {
      if (event.type !== 'text') aborters.delete(event.id);
      if (event.type === 'error') tell({ type: 'event', event: { ...event, error: null }, error: toWire(event.error) });
      else tell({ type: 'event', event, error: null });
    }
  },

  async score(
    { text, options }: { text: string | readonly number[]; options: PlainScoreOptions },
    { signal, emit }: CallContext,
  ) {
    return model.score(text, { ...withCache(options), signal, onProgress: onPrefill(emit) });
  },

  async encode({ text, options }: { text: string; options: { addSpecialTokens?: boolean } }) {
    return model.tokenizer.encode(text, options);
  },

  async decode({ ids, options }: { ids: readonly number[]; options: { skipSpecialTokens?: boolean } }) {
    return model.tokenizer.decode(ids, options);
  },

  createCache: async ({ options }: { options: Partial<AnyCacheOptions> }) => keep(model.createCache(options)),
  loadCache: async ({ path }: { path: string }) => keep(await loadCache(model, path)),
  saveCache: ({ cache, path }: { cache: CacheRef; path: string }) => saveCache(model, cacheOf(cache), path),
  forkCache: async (ref: CacheRef) => keep(cacheOf(ref).fork()),
  clearCache: async (ref: CacheRef) => cacheOf(ref).clear(),
  truncateCache: async ({ cache, length }: { cache: CacheRef; length: number }) => cacheOf(cache).truncate(length),
  tokens: async (ref: CacheRef) => cacheOf(ref).tokens(),
  stats: async (ref: CacheRef) => cacheOf(ref).stats(),
  memory: async (ref: CacheRef) => cacheOf(ref).memory(),
  async tokenPositions({ cache, layer, group }: { cache: CacheRef; layer: number; group: number }) {
    return cacheOf(cache).tokenPositions(layer, 0, group);
  },
  async releaseCache({ cacheId }: CacheRef) {
    caches.delete(cacheId);
  },

  release: async () => model?.dispose(),
};

const port = parentPort!;
const answer = answerer(port, methods);
port.on('message', (request: Request) => answer(request));
