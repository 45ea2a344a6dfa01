/**
 * @file Takes tokens into a cache of one row, chunk by chunk.
 */
import type { AdapterChoice } from '../../adapters/choice.ts';
import type { Config } from '../../config/config.ts';
import { bufferName } from '../../kvcache/buffers.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import type { CacheLease } from '../../kvcache/lease.ts';
import type { TokenPositions } from '../../step/step-types.ts';
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { checkOptionsObject, isList, shown } from '../../util/option-names.ts';
import type { PrefillModel } from '../model.ts';
import { chunkEnd } from './chunk-schedule.ts';

/** Tokens of a prompt that go through the graph at once, where neither cache nor engine decide it. */
export const CHUNK_LENGTH = 256;
/**
 * The same where the chunks change the result: tokens of one chunk see each other before slots are rounded or tokens
 * evicted. It is short and fixed, so that such a prompt can be read beside sequences that decode, and gives the same
 * with and without them.
 */
const SENSITIVE_CHUNK_LENGTH = 64;

const LOGITS: readonly unknown[] = ['none', 'last', 'all'];

export interface PrefillOptions {
  /**
   * Most tokens of one chunk.
   * @default 256; 512 with the ggml engine where the cache evicts nothing; 64 where the cache rounds its slots, or will
   * evict tokens of the prompt
   */
  readonly chunkLength?: number;
  /** `last`: logits of the last token [1, V]; `all`: of every token [T, V]; `none`. @default 'last' */
  readonly logits?: 'none' | 'last' | 'all';
  /** `decode`: the model sampled the tokens; policies may treat a prompt in another way. @default 'prompt' */
  readonly phase?: 'prompt' | 'decode';
  /** Live adapters. @default the model's default adapters */
  readonly adapters?: AdapterChoice;
  /** Positions of the tokens, in models where they have several; see {@link StepOptions.positions}. */
  readonly positions?: TokenPositions;
  /** The cross-attention states that each token attends to; see {@link StepOptions.crossAttentionMask}. */
  readonly crossAttentionMask?: readonly ArrayLike<number>[];
  /** Stops within a chunk, which is not taken into the cache then. */
  readonly signal?: AbortSignal;
  /** The lease of the run that has the cache. @default a lease until all tokens are read */
  readonly lease?: CacheLease;
  /** Told after each chunk how many tokens are done. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** Most tokens of one chunk, of a prompt of so many tokens, where the caller does not say it. */
export function defaultChunkLength(cache: KVCache, tokens: number): number {
  const { rules, shape } = cache;
  if (isSensitive(cache, tokens)) return SENSITIVE_CHUNK_LENGTH;
  // Attention weights of longer chunks would take more memory.
  const isPlain = !rules.evicts && rules.needs.length === 0;
  return (isPlain ? shape.chunkLength : undefined) ?? CHUNK_LENGTH;
}

/** Whether the content of the cache depends on the chunks of so many tokens. */
const isSensitive = (cache: KVCache, tokens: number): boolean =>
  bufferName(cache.buffer) !== 'float32' || (cache.rules.evicts && cache.headroom() < tokens);

/** A chunk is done. */
export interface PrefillStep {
  readonly done: number;
  readonly total: number;
  /** Those that were asked for, of this chunk's tokens [N, V]. */
  readonly logits: Float32Array;
}

/** Reads tokens into a cache of one row, a chunk at each call. */
export class PromptReader {
  readonly #model: PrefillModel;
  readonly #cache: KVCache;
  readonly #options: PrefillOptions;
  readonly #ids: readonly number[];
  /** Tokens before the given ones, pending or computed once more: their logits were not asked for. */
  readonly #again: number;
  /** Length of the sequence at the end. */
  readonly #length: number;
  /** The last tokens that the policy wants as a chunk of their own. */
  readonly #tail: number;
  readonly #chunkLength: number;
  /** Whether chunks of other lengths give the same content of the cache. */
  readonly #flexible: boolean;
  #done = 0;

  /** @throws InputError for an empty prompt; CacheFullError before anything is computed where it can't fit. */
  constructor(model: PrefillModel, cache: KVCache, tokens: ArrayLike<number>, options: PrefillOptions) {
    const { chunkLength, phase = 'prompt', logits = 'last', positions, crossAttentionMask, lease } = options;
    checkIdTypes(tokens);
    if (tokens.length === 0) throw new InputError('the prompt is empty: there is no token to go on from');
    if (!LOGITS.includes(logits))
      throw new InputError(`logits of a prompt must be "none", "last" or "all", but is ${shown(logits)}`);
    if (chunkLength !== undefined) wholeNumber('chunkLength', chunkLength);
    cache.checkLease('a prompt', lease);
    const all = [...cache.pending(), ...Array.from(tokens)];
    checkTokenIds(model.config, cache, all, 0, cache.pending().length);
    model.adapters.forRows([options.adapters]);
    this.#model = model;
    this.#cache = cache;
    this.#options = options;
    this.#ids = positions || crossAttentionMask ? all : refit(model, cache, all, lease);
    this.#again = this.#ids.length - tokens.length;
    this.#length = cache.length() + this.#ids.length;
    this.#tail = phase === 'prompt' ? cache.rules.promptTail : 0;
    this.#flexible = chunkLength === undefined && !isSensitive(cache, this.#ids.length);
    this.#chunkLength = chunkLength ?? defaultChunkLength(cache, this.#ids.length);
  }

  /** Tokens to come. */
  get left(): number {
    return this.#ids.length - this.#done;
  }

  get total(): number {
    return this.#ids.length;
  }

  /**
   * Reads the next chunk.
   * @param most tokens of a shorter chunk, where that changes nothing but the speed.
   */
  async read(most = Number.POSITIVE_INFINITY): Promise<PrefillStep> {
    const { logits = 'last', phase = 'prompt', adapters, positions, crossAttentionMask, lease, signal } = this.#options;
    const ids = this.#ids;
    const at = this.#done;
    const end = chunkEnd(
      at,
      ids.length,
      this.#flexible ? Math.min(most, this.#chunkLength) : this.#chunkLength,
      this.#tail,
    );
    const last = end === ids.length;
    const wanted = logits === 'all' ? (end > this.#again ? 'all' : 'none') : last ? logits : 'none';
    const result = await this.#model.step(this.#cache, [ids.slice(at, end)], {
      logits: wanted,
      adapters,
      lengths: [this.#length],
      phase: phase === 'prompt' && last ? 'prompt-end' : phase,
      positions: positions && [slicePositions(positions, at, end)],
      crossAttentionMask: crossAttentionMask && [crossAttentionMask.slice(at, end)],
      lease,
      signal,
    });
    this.#done = end;
    const skip = wanted === 'all' ? Math.max(0, this.#again - at) * this.#model.config.vocabSize : 0;
    return { done: end, total: ids.length, logits: result.logits.subarray(skip) };
  }
}

/**
 * One chunk after the other; the next one runs when it is asked for.
 * @param most as of {@link PromptReader.read}.
 * @throws InputError for an empty prompt; CacheFullError before anything is computed where it can't fit.
 */
export async function* prefillSteps(
  model: PrefillModel,
  cache: KVCache,
  tokens: ArrayLike<number>,
  options: PrefillOptions,
  most?: number,
): AsyncGenerator<PrefillStep, void, undefined> {
  checkOptionsObject('prefill', options);
  const { signal, onProgress } = options;
  signal?.throwIfAborted(); // before the reader may clear the cache
  const lease = options.lease ?? cache.acquire('a prompt');
  try {
    const reader = new PromptReader(model, cache, tokens, { ...options, lease });
    while (reader.left > 0) {
      signal?.throwIfAborted();
      const step = await reader.read(most);
      onProgress?.(step.done, step.total);
      yield step;
    }
  } finally {
    if (!options.lease) lease.release();
  }
}

/** Runs {@link prefillSteps} to its end. @returns the logits that were asked for, of all chunks. */
export async function prefill(
  model: PrefillModel,
  cache: KVCache,
  tokens: ArrayLike<number>,
  options: PrefillOptions = {},
): Promise<Float32Array> {
  const all: Float32Array[] = [];
  for await (const { logits } of prefillSteps(model, cache, tokens, options)) if (logits.length > 0) all.push(logits);
  return concatFloats(all);
}

/**
 * @throws InputError for what is no list of numbers: texts, several texts, and 64-bit integers as of transformers.js.
 */
export function checkIdTypes(tokens: ArrayLike<unknown>): void {
  if (!isList(tokens))
    throw new InputError(
      `token ids must be an array of numbers, but are ${shown(tokens)}; model.tokenizer.encode makes them of a text`,
    );
  for (let i = 0; i < tokens.length; i++) {
    if (typeof tokens[i] === 'number') continue;
    const hint =
      typeof tokens[i] === 'string'
        ? '; a prompt is one text, and generateBatch takes several'
        : typeof tokens[i] === 'bigint'
          ? '; convert them with Array.from(ids, Number)'
          : '';
    throw new InputError(`token ids must be numbers, but the one with index ${i} is ${shown(tokens[i])}${hint}`);
  }
}

/**
 * What would fail in a later chunk fails before the first one: a cache is left as it was.
 * @param first index of the first token that was given: pending ones come before.
 * @throws InputError, CacheFullError
 */
function checkTokenIds(
  { embedRows, position, contextLength }: Config,
  cache: KVCache,
  tokens: ArrayLike<number>,
  row = 0,
  first = 0,
): void {
  for (let i = 0; i < tokens.length; i++)
    if (!Number.isInteger(tokens[i]) || tokens[i] < 0 || tokens[i] >= embedRows)
      throw new InputError(
        `token id ${tokens[i]} (index ${i - first}) is not in the model's vocabulary of ${embedRows}`,
      );
  const end = cache.length(row) + tokens.length;
  if (position === 'learned' && end > contextLength)
    throw new InputError(
      `the model has learned ${contextLength} positions, and the sequence would reach ${end}: shorten the prompt`,
    );
  cache.reserve(Array.from({ length: cache.batch }, (_, r) => (r === row ? tokens.length : 0)));
}

/**
 * Where a sequence wants other rotations than the cached keys have (dynamic and long RoPE), all of it is computed anew,
 * as long as nothing was evicted; otherwise the cached keys stay as they are. Keys may have been rotated for a longer
 * sequence, which was then truncated.
 */
function refit(model: PrefillModel, cache: KVCache, tokens: number[], lease: CacheLease | undefined): number[] {
  const held = cache.length();
  if (held === 0 || model.ropeFits(cache.rotatedFor() || held, held + tokens.length)) return tokens;
  if (cache.stats().evicted[0] > 0 || cache.store.crossAttention.any || cache.ropePosition() !== held) return tokens;
  const all = [...cache.tokens(), ...tokens];
  cache.clear(lease);
  return all;
}

/** Positions of some of the tokens. */
function slicePositions(positions: TokenPositions, from: number, to: number): TokenPositions {
  const cut = (list: ArrayLike<number>) => Array.from(list).slice(from, to);
  return typeof positions[0] === 'number'
    ? cut(positions as ArrayLike<number>)
    : (positions as readonly ArrayLike<number>[]).map(cut);
}

/** Behind each other. */
function concatFloats(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
