/**
 * @file How much memory a model and its cache take, told from the config alone.
 */
import type { Config } from '../config/config.ts';
import { type AnyCacheOptions, createCache } from '../kvcache/policies.ts';
import { cacheShape } from '../model/cache-shape.ts';
import { layOut } from '../weights/layout.ts';
import type { WeightFormat } from '../weights/types.ts';
import { chooseFormat, countParameters, paramsOf } from './load.ts';

export interface MemoryPlanOptions {
  /** Tokens that the sequence is to reach; the model's context unless stated. */
  readonly contextLength?: number;
  /** The cache's options; unless stated, a dense one that holds the whole context. */
  readonly cache?: Partial<AnyCacheOptions>;
}

/** All in bytes, unless its name says otherwise. What the runtime needs while a step runs comes on top. */
export interface MemoryPlan {
  /** Number of parameters. */
  readonly parameters: number;
  /** The format that `auto` stands for. */
  readonly format: WeightFormat;
  /** Prepared weights, by format. */
  readonly weights: Readonly<Record<WeightFormat, number>>;
  /** Tokens that the plan is for. */
  readonly contextLength: number;
  readonly cachePolicy: string;
  /** Slots of the cache. */
  readonly cacheLength: number;
  /** Keys and values of the cache at that context. */
  readonly cache: number;
  /** The same for a dense cache. */
  readonly denseCache: number;
  /** Keys and values of one token, in all layers. */
  readonly perToken: number;
  /** As perToken, but without layers with a sliding window, which stop growing at their window. */
  readonly perTokenBeyondWindow: number;
}

const FORMATS: readonly WeightFormat[] = ['f32', 'int8', 'int4'];

/**
 * Plans the memory of a model. Nothing is loaded.
 * @throws InputError for a contextLength that is not a whole number from 1 on, or cache options that the policy refuses.
 */
export function planMemory(config: Config, options: MemoryPlanOptions = {}): MemoryPlan {
  const { contextLength = config.blockSize, cache: wanted = {} } = options;
  const shape = cacheShape(config);
  const limit = (cache: AnyCacheOptions): number => createCache(shape, cache).memory().limit;
  const dense = (cacheLength: number): number => limit({ policy: 'dense', cacheLength, buffer: wanted.buffer });
  const cacheOptions = { cacheLength: contextLength, ...wanted };
  const cache = createCache(shape, cacheOptions);
  const sizeOf = (format: WeightFormat): number => layOut(paramsOf(config, format)).size;
  // A budget above the context is never used up.
  const used = Math.min(cache.cacheLength, contextLength);
  const window = config.slidingWindowSize ?? 1;
  const parameters = countParameters(paramsOf(config, 'f32'));
  return {
    parameters,
    format: chooseFormat('auto', parameters),
    weights: Object.fromEntries(FORMATS.map((format) => [format, sizeOf(format)])) as Record<WeightFormat, number>,
    contextLength,
    cachePolicy: cache.policy,
    cacheLength: cache.cacheLength,
    cache: Math.min(cache.memory().limit, dense(used)),
    denseCache: dense(contextLength),
    perToken: dense(1),
    perTokenBeyondWindow: dense(window + 1) - dense(window),
  };
}
