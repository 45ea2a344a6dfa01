/**
 * @file Takes tokens into a cache of one row, chunk by chunk.
 */
import type { AdapterChoice } from '../adapters/bank.ts';
import type { Config } from '../config/config.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { TokenPositions } from '../step/bind.ts';
import { CacheFullError, InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { chunkSchedule } from './chunk-schedule.ts';
import type { PrefillModel } from './model.ts';

/** Tokens of a prompt that go through the graph at once, unless stated. */
export const CHUNK_LENGTH = 256;

export interface PrefillOptions {
  /** Most tokens of one chunk; {@link CHUNK_LENGTH} unless stated. */
  readonly chunkLength?: number;
  /** `last`: logits of the last token [1, V]; `all`: of every token [T, V]; `none`. `last` unless stated. */
  readonly logits?: 'none' | 'last' | 'all';
  /** `decode` where the tokens were written by the model; unless stated they are a prompt, which policies may treat otherwise. */
  readonly phase?: 'prompt' | 'decode';
  /** Live adapters; unless stated, the model's standard. */
  readonly adapters?: AdapterChoice;
  /** Positions of the tokens, in models where they have several; see {@link StepOptions.positions}. */
  readonly positions?: TokenPositions;
  /** Which attached states each token sees; see {@link StepOptions.sees}. */
  readonly sees?: readonly ArrayLike<number>[];
  /** Asked between chunks. */
  readonly signal?: AbortSignal;
  /** Told after each chunk how many tokens are done. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** A chunk is done. */
export interface PrefillStep {
  readonly done: number;
  readonly total: number;
  /** Those that were asked for, of this chunk's tokens [N, V]. */
  readonly logits: Float32Array;
}

/**
 * One chunk after the other; the next one runs when it is asked for.
 * @throws InputError for an empty prompt; CacheFullError before anything is computed where it can't fit.
 */
export async function* prefillSteps(
  model: PrefillModel,
  cache: KVCache,
  tokens: ArrayLike<number>,
  options: PrefillOptions,
): AsyncGenerator<PrefillStep, void, undefined> {
  const { chunkLength = CHUNK_LENGTH, logits = 'last', phase = 'prompt', signal, onProgress } = options;
  const { adapters, positions, sees } = options;
  if (tokens.length === 0) throw new InputError('the prompt is empty: there is no token to go on from');
  wholeNumber('chunkLength', chunkLength);
  checkTokenIds(model.config, cache, tokens);
  model.adapters.forRows([adapters]);
  signal?.throwIfAborted();
  const ids = positions || sees ? Array.from(tokens) : refit(model, cache, Array.from(tokens));
  const length = cache.length() + ids.length;
  // Tokens that are computed once more, whose logits nobody asked for.
  const again = ids.length - tokens.length;
  for (const [at, end] of chunkSchedule(ids.length, chunkLength, phase === 'prompt' ? cache.promptTail : 0)) {
    signal?.throwIfAborted();
    const last = end === ids.length;
    const wanted = logits === 'all' ? (end > again ? 'all' : 'none') : last ? logits : 'none';
    const step = {
      logits: wanted,
      adapters,
      lengths: [length],
      phase: phase === 'prompt' && last ? 'prompt-end' : phase,
      positions: positions && [slicePositions(positions, at, end)],
      sees: sees && [sees.slice(at, end)],
    } as const;
    const result = await model.step(cache, [ids.slice(at, end)], step);
    onProgress?.(end, ids.length);
    const skip = wanted === 'all' ? Math.max(0, again - at) * model.config.vocabSize : 0;
    yield { done: end, total: ids.length, logits: result.logits.subarray(skip) };
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
 * Reads the token that was written last: whoever goes on from a cache would miss it. Where it has no room, nobody can.
 */
export async function appendLastToken(
  model: PrefillModel,
  cache: KVCache,
  token: number,
  adapters: AdapterChoice | undefined,
): Promise<void> {
  const { position, contextLength } = model.config;
  if (position === 'learned' && cache.length() >= contextLength) return;
  try {
    for await (const _ of prefillSteps(model, cache, [token], { logits: 'none', adapters, phase: 'decode' }));
  } catch (error) {
    if (!(error instanceof CacheFullError)) throw error;
  }
}

/**
 * What would fail in a later chunk fails before the first one: a cache is left as it was.
 * @throws InputError, CacheFullError
 */
export function checkTokenIds(
  { embedRows, position, contextLength }: Config,
  cache: KVCache,
  tokens: ArrayLike<number>,
  row = 0,
): void {
  for (let i = 0; i < tokens.length; i++)
    if (!Number.isInteger(tokens[i]) || tokens[i] < 0 || tokens[i] >= embedRows)
      throw new InputError(`token id ${tokens[i]} (place ${i}) is not in the model's vocabulary of ${embedRows}`);
  const end = cache.length(row) + tokens.length;
  if (position === 'learned' && end > contextLength)
    throw new InputError(`the model has learned ${contextLength} positions, and the sequence would reach ${end}`);
  cache.reserve(Array.from({ length: cache.batch }, (_, r) => (r === row ? tokens.length : 0)));
}

/**
 * Where a longer sequence wants other rotations than the held keys have (dynamic and long RoPE), all of it is computed anew, as
 * long as nothing was evicted; otherwise the held keys stay as they are.
 */
function refit(model: PrefillModel, cache: KVCache, tokens: number[]): number[] {
  const held = cache.length();
  if (held === 0 || model.ropeFits(held, held + tokens.length)) return tokens;
  if (cache.stats().evicted[0] > 0 || cache.attached.any || cache.place() !== held) return tokens;
  const all = [...cache.tokens(), ...tokens];
  cache.clear();
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
export function concatFloats(parts: readonly Float32Array[]): Float32Array {
  if (parts.length === 1) return parts[0];
  const out = new Float32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
