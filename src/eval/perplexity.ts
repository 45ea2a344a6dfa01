/**
 * @file Perplexity: how well a model predicts a text that goes through a cache.
 */
import type { LanguageModel } from '../engine/language-model.ts';
import { logSoftmaxAt } from '../engine/sampling/sampler.ts';
import { checkModelCall } from '../engine/text-model.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { type Interval, meanInterval } from './bootstrap.ts';
import { type Cost, CostMeter } from './cost.ts';
import { EVAL_CHUNK, meteredSteps } from './steps.ts';

/** How a text is read for its perplexity. */
export interface PerplexityOptions {
  /**
   * Options of the cache; each window of text gets a new one.
   * @default a dense one
   */
  readonly cache?: Partial<AnyCacheOptions>;
  /**
   * Tokens of each window of text, the leading special token included.
   * @default 1024, or the model's context where that is shorter
   */
  readonly windowLength?: number;
  /**
   * Windows to take from the start of the text.
   * @default all
   */
  readonly windows?: number;
  /**
   * Tokens of a chunk; a policy decides after each chunk.
   * @default 64
   */
  readonly chunkLength?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told how many tokens are done. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** The perplexity of a text. */
export interface PerplexityResult extends Cost {
  /** exp of the mean loss. */
  readonly perplexity: number;
  /** The 95 % interval of the perplexity, by chunks; null: there are fewer than 5. */
  readonly interval: Interval | null;
  /** Mean loss of a token, in nats. */
  readonly loss: number;
  /** Tokens that were predicted. */
  readonly tokens: number;
  /** Windows of text that were read. */
  readonly windows: number;
}

/** Default length of a window. */
const WINDOW_LENGTH = 1024;

/**
 * Teacher-forced perplexity: the text is cut into windows that do not overlap; in each the model sees the true tokens,
 * chunk by chunk through the cache, and every next token counts. Each window begins with the tokenizer's special token,
 * if it has one.
 * @throws InputError for a text too short for one window of two tokens.
 * @example
 * ```ts
 * import { loadModel } from 'keyhold';
 * import { perplexity } from 'keyhold/eval';
 *
 * const model = await loadModel();
 * const text = 'And God said, Let there be light: and there was light. '.repeat(20);
 * const cache = { policy: 'h2o', cacheLength: 64 };
 * console.log((await perplexity(model, text, { cache, windowLength: 128, windows: 1 })).perplexity);
 * await model.dispose();
 * ```
 */
export async function perplexity(
  model: LanguageModel,
  text: string,
  options: PerplexityOptions = {},
): Promise<PerplexityResult> {
  checkModelCall('perplexity', model, options);
  const { chunkLength = EVAL_CHUNK, signal, onProgress } = options;
  wholeNumber('chunkLength', chunkLength);
  const { windows, total } = cutWindows(model, text, options);
  await model.calibrateFor(options.cache, { signal: options.signal });
  const meter = new CostMeter();
  let before = 0;
  const chunks: number[] = [];
  let loss = 0;
  let tokens = 0;
  for (const window of windows) {
    const cache = model.createCache({ policy: 'dense', cacheLength: window.length, ...options.cache });
    await model.prepare(cache);
    const width = model.config.vocabSize;
    let next = 1;
    for await (const { done, logits } of meteredSteps(
      model,
      cache,
      window,
      { chunkLength, logits: 'all', signal },
      meter,
    )) {
      const [lossBefore, tokensBefore] = [loss, tokens];
      for (let at = 0; at < logits.length && next < window.length; at += width, next++) {
        loss -= logSoftmaxAt(logits.subarray(at, at + width), window[next]);
        tokens++;
      }
      if (tokens > tokensBefore) chunks.push((loss - lossBefore) / (tokens - tokensBefore));
      onProgress?.(before + done, total);
    }
    before += window.length;
    meter.hold(cache);
  }
  const interval = meanInterval(chunks);
  return {
    perplexity: Math.exp(loss / tokens),
    interval: interval && [Math.exp(interval[0]), Math.exp(interval[1])],
    loss: loss / tokens,
    tokens,
    windows: windows.length,
    ...meter.cost(),
  };
}

/** Tokens of a window, as it is given or by default. */
function windowLengthOf(model: LanguageModel, { windowLength }: Pick<PerplexityOptions, 'windowLength'>): number {
  return windowLength ?? Math.min(WINDOW_LENGTH, model.config.contextLength);
}

/**
 * Windows of token ids, each with the special token before it, and how many tokens they have together. The rest that
 * fills no window is left out, unless it is all.
 * @throws InputError for a text too short for one window of two tokens.
 */
export function cutWindows(
  model: LanguageModel,
  text: string,
  options: Pick<PerplexityOptions, 'windowLength' | 'windows'>,
): { readonly windows: readonly (readonly number[])[]; readonly total: number } {
  const length = wholeNumber('windowLength', windowLengthOf(model, options), 2);
  const most = options.windows ?? Number.POSITIVE_INFINITY;
  const ids = model.tokenizer.encode(text, { addSpecialTokens: false });
  const [first] = model.tokenizer.encode('', { addSpecialTokens: true });
  const lead = first === undefined ? [] : [first];
  const body = length - lead.length;
  const windows: number[][] = [];
  for (let at = 0; at + body <= ids.length && windows.length < most; at += body)
    windows.push([...lead, ...ids.slice(at, at + body)]);
  if (windows.length === 0) windows.push([...lead, ...ids]);
  if (windows[0].length < 2) throw new InputError('the text is too short: there is no token to predict');
  return { windows, total: windows.reduce((sum, window) => sum + window.length, 0) };
}
