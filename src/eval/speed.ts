/**
 * @file How fast a model reads and writes through a cache on this machine, and which settings are the fastest here.
 */
import type { LanguageModel } from '../engine/language-model.ts';
import { defaultChunkLength } from '../engine/schedule/prefill.ts';
import { checkModelCall } from '../engine/text-model.ts';
import type { BufferChoice } from '../kvcache/buffers.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { checkArgument, checkList } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { argmax, wholeNumber } from '../util/numbers.ts';
import type { WeightFormat } from '../weights/types.ts';
import { CostMeter } from './cost.ts';

/** What is timed. */
export interface SpeedOptions {
  /**
   * Options of the cache.
   * @default a dense one for all tokens
   */
  readonly cache?: Partial<AnyCacheOptions>;
  /**
   * Tokens of the prompt.
   * @default 512, or what fits into the model's context
   */
  readonly promptTokens?: number;
  /**
   * Tokens to generate after it.
   * @default 32
   */
  readonly newTokens?: number;
  /**
   * How often to measure; the results are medians. A round that is not counted comes first.
   * @default 3
   */
  readonly rounds?: number;
  /**
   * Most tokens of a chunk of the prompt.
   * @default as `chunkLength` of `prefill`
   */
  readonly chunkLength?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told after each round, that to warm up included. */
  readonly onRound?: (done: number, total: number) => void;
}

/** Medians of the rounds. */
export interface SpeedResult {
  /** Tokens of the prompt. */
  readonly promptTokens: number;
  /** Tokens that were generated. */
  readonly newTokens: number;
  /** Rounds that were counted. */
  readonly rounds: number;
  /** Most tokens of a chunk of the prompt. */
  readonly chunkLength: number;
  /** Tokens of the prompt that were computed a second. */
  readonly prefillSpeed: number;
  /** Tokens that were generated a second, after the first. */
  readonly decodeSpeed: number;
  /** Milliseconds from an empty cache to the first token. */
  readonly firstTokenMs: number;
  /** Milliseconds for the prompt and all new tokens. */
  readonly totalMs: number;
  /** Bytes of keys and values. */
  readonly cacheBytes: number;
}

const SPEED_DEFAULTS = { promptTokens: 512, newTokens: 32, rounds: 3 } as const;

/**
 * Measures a model with a prompt of arbitrary tokens.
 * @throws InputError for options out of range, and for an encoder; CacheFullError where a dense cache is too small; the
 * signal's reason.
 */
export async function measureSpeed(model: LanguageModel, options: SpeedOptions = {}): Promise<SpeedResult> {
  checkModelCall('measureSpeed', model, options);
  const { signal, onRound } = options;
  const { vocabSize, contextLength } = model.config;
  const newTokens = wholeNumber('newTokens', options.newTokens ?? SPEED_DEFAULTS.newTokens);
  const rounds = wholeNumber('rounds', options.rounds ?? SPEED_DEFAULTS.rounds);
  if (options.chunkLength !== undefined) wholeNumber('chunkLength', options.chunkLength);
  const longest = Math.max(1, contextLength - newTokens);
  const promptTokens = wholeNumber(
    'promptTokens',
    options.promptTokens ?? Math.min(SPEED_DEFAULTS.promptTokens, longest),
  );
  if (promptTokens > longest)
    throw new InputError(
      `a prompt of ${promptTokens} tokens and ${newTokens} new ones are more than the model's ${contextLength} positions`,
    );
  const prompt = Array.from({ length: promptTokens }, (_, i) => (i * 7919 + 1) % vocabSize);
  const times: { read: number; write: number; bytes: number }[] = [];
  await model.calibrateFor(options.cache, { signal });
  const newCache = () =>
    model.createCache({ policy: 'dense', cacheLength: promptTokens + newTokens, ...options.cache });
  const chunkLength = options.chunkLength ?? defaultChunkLength(newCache(), promptTokens);
  for (let round = 0; round <= rounds; round++) {
    signal?.throwIfAborted();
    const cache = newCache();
    const [reading, writing] = [new CostMeter(), new CostMeter()];
    let token = await reading.time(promptTokens, async () =>
      argmax(await model.prefill(cache, prompt, { chunkLength, signal })),
    );
    for (let i = 0; i < newTokens; i++) {
      signal?.throwIfAborted();
      token = await writing.time(1, async () => argmax((await model.step(cache, [[token]])).logits));
    }
    writing.hold(cache);
    // The first round also makes what later ones find.
    if (round > 0) {
      const { msPerToken, cacheBytes } = writing.cost();
      times.push({ read: reading.cost().msPerToken * promptTokens, write: msPerToken, bytes: cacheBytes });
    }
    onRound?.(round + 1, rounds + 1);
  }
  const read = median(times.map((time) => time.read));
  const write = median(times.map((time) => time.write));
  return {
    promptTokens,
    newTokens,
    rounds,
    chunkLength,
    prefillSpeed: (1000 * promptTokens) / read,
    decodeSpeed: 1000 / write,
    firstTokenMs: read,
    totalMs: read + write * newTokens,
    cacheBytes: times[0].bytes,
  };
}

/** What a search varies. */
export interface SpeedSettings {
  /** Threads of the engine. */
  readonly threads: number;
  /** Format of the weights. */
  readonly weights: WeightFormat;
  /** Tokens of a chunk of the prompt. */
  readonly chunkLength: number;
  /** Format of keys and values. */
  readonly buffer: BufferChoice;
}

/** One setting that was timed. */
export interface SpeedTrial extends SpeedSettings {
  /** Tokens of the prompt that were computed a second. */
  readonly prefillSpeed: number;
  /** Tokens that were generated a second, after the first. */
  readonly decodeSpeed: number;
  /** Milliseconds for the prompt and all new tokens. */
  readonly totalMs: number;
}

/** What to try of each setting. */
export type SpeedChoices = { readonly [K in keyof SpeedSettings]: readonly SpeedSettings[K][] };

/** The settings that are tried, and the fastest. */
export interface SpeedSearch {
  /** All settings that were timed; the first is the one that the search began with. */
  readonly trials: readonly SpeedTrial[];
  /** The fastest of them. */
  readonly fastest: SpeedTrial;
}

/** A setting must be faster by this part to be better: less is noise. */
const NOTABLE = 0.03;

/**
 * Looks for the fastest settings, one after the other: each is tried with the best of those before it. What counts is
 * the time for the prompt and the new tokens together.
 * @param begin where it begins, and what it gives up only for something notably faster.
 * @param measure measures settings once.
 * @throws InputError for arguments that are none of these.
 */
export async function searchSpeed(
  begin: SpeedSettings,
  choices: SpeedChoices,
  measure: (settings: SpeedSettings) => Promise<Omit<SpeedTrial, keyof SpeedSettings>>,
  onTrial?: (done: number, total: number) => void,
): Promise<SpeedSearch> {
  const names = ['threads', 'weights', 'chunkLength', 'buffer'] as const;
  checkArgument('searchSpeed', 'settings to begin with', begin, isObject(begin));
  checkArgument('searchSpeed', 'an object of what to try of each setting', choices, isObject(choices));
  for (const name of names)
    checkList('searchSpeed', `${name} to try as a list`, choices[name], (value) => value !== undefined);
  checkArgument('searchSpeed', 'a function that measures', measure, typeof measure === 'function');
  const others = names.flatMap((name) =>
    [...new Set<SpeedSettings[typeof name]>(choices[name])].filter((value) => value !== begin[name]),
  );
  const trials: SpeedTrial[] = [];
  const attempt = async (settings: SpeedSettings): Promise<SpeedTrial> => {
    const { prefillSpeed, decodeSpeed, totalMs } = await measure(settings);
    const trial = { ...settings, prefillSpeed, decodeSpeed, totalMs };
    trials.push(trial);
    onTrial?.(trials.length, others.length + 1);
    return trial;
  };
  let fastest = await attempt(begin);
  for (const name of names) {
    const from = settingsOf(fastest);
    for (const value of new Set<SpeedSettings[typeof name]>(choices[name])) {
      if (value === begin[name]) continue;
      const trial = await attempt({ ...from, [name]: value });
      if (trial.totalMs < fastest.totalMs * (1 - NOTABLE)) fastest = trial;
    }
  }
  return { trials, fastest };
}

export function settingsOf({ threads, weights, chunkLength, buffer }: SpeedSettings): SpeedSettings {
  return { threads, weights, chunkLength, buffer };
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
