/**
 * @file Perplexity: how well a model foresees a text when it goes through a cache.
 */

import type { LanguageModel } from '../engine/language-model.ts';
import { logSoftmaxAt } from '../engine/sampling/sampler.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import { type Cost, CostMeter } from './cost.ts';

export interface PerplexityOptions {
  /** Options of the cache; each window of text gets a fresh one. Unless stated, a dense one. */
  readonly cache?: Partial<AnyCacheOptions>;
  /** Tokens of each window of text, the leading special token included; the model's context unless stated, at most 1024. */
  readonly windowLength?: number;
  /** Windows to take from the start of the text; all unless stated. */
  readonly windows?: number;
  /** Tokens that go through the graph at once; 64 unless stated. A policy decides after each chunk. */
  readonly chunkLength?: number;
  readonly signal?: AbortSignal;
  /** Told how many tokens are done. */
  readonly onProgress?: (done: number, total: number) => void;
}

export interface PerplexityResult extends Cost {
  /** exp of the mean loss. */
  readonly perplexity: number;
  /** Mean loss of a token, in nats. */
  readonly loss: number;
  /** Tokens that were foreseen. */
  readonly tokens: number;
  readonly windows: number;
}

/** Unless stated, and for models whose context is longer. */
export const WINDOW_LENGTH = 1024;
export const EVAL_CHUNK = 64;

/**
 * Teacher-forced perplexity: the text is cut into windows that do not overlap; in each the model sees the true tokens, chunk by
 * chunk through the cache, and every next token counts. Each window begins with the tokenizer's special token, if it has one.
 * @throws InputError for a text too short for one window of two tokens.
 */
export async function perplexity(
  model: LanguageModel,
  text: string,
  options: PerplexityOptions = {},
): Promise<PerplexityResult> {
  const { chunkLength = EVAL_CHUNK, signal, onProgress } = options;
  wholeNumber('chunkLength', chunkLength);
  const windowLength = wholeNumber(
    'windowLength',
    options.windowLength ?? Math.min(WINDOW_LENGTH, model.config.contextLength),
    2,
  );
  const windows = cutWindows(model, text, windowLength, options.windows);
  const meter = new CostMeter();
  const total = windows.reduce((sum, window) => sum + window.length, 0);
  let done = 0;
  let loss = 0;
  let tokens = 0;
  for (const window of windows) {
    const cache = model.createCache({ cacheLength: window.length, ...options.cache });
    for (let at = 0; at < window.length; at += chunkLength) {
      signal?.throwIfAborted();
      const chunk = window.slice(at, at + chunkLength);
      const { logits } = await meter.time(chunk.length, () =>
        model.step(cache, [chunk], { logits: 'all', phase: 'prompt' }),
      );
      const V = logits.length / chunk.length;
      for (let i = 0; i < chunk.length && at + i + 1 < window.length; i++) {
        loss -= logSoftmaxAt(logits.subarray(i * V, (i + 1) * V), window[at + i + 1]);
        tokens++;
      }
      done += chunk.length;
      onProgress?.(done, total);
    }
    meter.hold(cache);
  }
  return { perplexity: Math.exp(loss / tokens), loss: loss / tokens, tokens, windows: windows.length, ...meter.cost() };
}

/** Windows of token ids, each with the special token before it. The rest that fills no window is left out, unless it is all. */
function cutWindows(model: LanguageModel, text: string, length: number, most = Number.POSITIVE_INFINITY): number[][] {
  const ids = model.tokenizer.encode(text, { addSpecialTokens: false });
  const [first] = model.tokenizer.encode('', { addSpecialTokens: true });
  const lead = first === undefined ? [] : [first];
  const body = length - lead.length;
  const windows: number[][] = [];
  for (let at = 0; at + body <= ids.length && windows.length < most; at += body)
    windows.push([...lead, ...ids.slice(at, at + body)]);
  if (windows.length === 0) windows.push([...lead, ...ids]);
  if (windows[0].length < 2) throw new InputError('the text is too short: there is no token to foresee');
  return windows;
}
