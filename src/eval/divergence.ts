/**
 * @file Divergence: how far the next token's probabilities are from those with a dense cache. It tells small
 * differences that neither perplexity nor recall shows.
 */
import type { LanguageModel } from '../engine/language-model.ts';
import { logSoftmaxAt, normalizer } from '../engine/sampling/sampler.ts';
import { checkModelCall } from '../engine/text-model.ts';
import { GraphError } from '../util/errors.ts';
import { argmax } from '../util/numbers.ts';
import { type Interval, meanInterval } from './bootstrap.ts';
import { type Cost, CostMeter } from './cost.ts';
import { cutWindows, type PerplexityOptions } from './perplexity.ts';
import { EVAL_CHUNK, meteredSteps } from './steps.ts';

/** Parts of a window that are told apart. */
const PARTS = 8;

/** How far the probabilities under a policy are from those of the dense cache. */
export interface DivergenceResult extends Cost {
  /** Mean of KL(dense ‖ cache) over all positions, in nats. */
  readonly divergence: number;
  /** Its 95 % interval, by chunks; null: there are fewer than 5. */
  readonly interval: Interval | null;
  /** The mean in each eighth of the window, from the first one on. */
  readonly byPart: readonly number[];
  /** Positions at which both find the same token the likeliest, as a part of all. */
  readonly sameTop: number;
  /** Perplexity with the cache. */
  readonly perplexity: number;
  /** Perplexity with the dense cache. */
  readonly densePerplexity: number;
  /** Positions that were compared. */
  readonly tokens: number;
  /** Windows of text that were read. */
  readonly windows: number;
}

/**
 * Reads windows of a text through a dense float32 cache and through the cache in question, and compares the
 * probabilities of all tokens at every position.
 * @throws InputError for a text too short for one window of two tokens.
 */
export async function divergence(
  model: LanguageModel,
  text: string,
  options: PerplexityOptions = {},
): Promise<DivergenceResult> {
  checkModelCall('divergence', model, options);
  const { chunkLength = EVAL_CHUNK, signal, onProgress } = options;
  const { windows, total } = cutWindows(model, text, options);
  const [meter, denseMeter] = [new CostMeter(), new CostMeter()];
  const width = model.config.vocabSize;
  const chunks: number[] = [];
  const parts = Array.from({ length: PARTS }, () => ({ sum: 0, count: 0 }));
  const loss = { own: 0, dense: 0, count: 0 };
  let [sum, tokens, same, before] = [0, 0, 0, 0];
  await model.calibrateFor(options.cache, { signal });
  for (const window of windows) {
    const dense = model.createCache({ policy: 'dense', cacheLength: window.length });
    const cache = model.createCache({ policy: 'dense', cacheLength: window.length, ...options.cache });
    await model.prepare(cache);
    const steps = { chunkLength, logits: 'all', signal } as const;
    const exact = meteredSteps(model, dense, window, steps, denseMeter);
    const exactRows: Float32Array[] = [];
    let at = 0;
    for await (const { done, logits } of meteredSteps(model, cache, window, steps, meter)) {
      let chunk = 0;
      const count = logits.length / width;
      const own = logits.slice();
      // A policy may want other chunks than the dense cache.
      while (exactRows.length < count) {
        const { value } = await exact.next();
        if (!value) throw new GraphError('the dense cache gave too few logits');
        const all = value.logits.slice();
        for (let from = 0; from < all.length; from += width) exactRows.push(all.subarray(from, from + width));
      }
      for (let i = 0; i < count; i++, at++) {
        const [p, q] = [exactRows.shift()!, own.subarray(i * width, (i + 1) * width)];
        const kl = divergenceOf(p, q);
        chunk += kl;
        const part = parts[Math.min(PARTS - 1, Math.floor((PARTS * at) / window.length))];
        part.sum += kl;
        part.count++;
        if (argmax(p) === argmax(q)) same++;
        const next = window[at + 1];
        if (next === undefined) continue;
        loss.own -= logSoftmaxAt(q, next);
        loss.dense -= logSoftmaxAt(p, next);
        loss.count++;
      }
      sum += chunk;
      tokens += count;
      chunks.push(chunk / count);
      onProgress?.(before + done, total);
    }
    await exact.return(undefined);
    before += window.length;
    meter.hold(cache);
  }
  return {
    divergence: sum / tokens,
    interval: meanInterval(chunks),
    byPart: parts.filter(({ count }) => count > 0).map((part) => part.sum / part.count),
    sameTop: same / tokens,
    perplexity: Math.exp(loss.own / loss.count),
    densePerplexity: Math.exp(loss.dense / loss.count),
    tokens,
    windows: windows.length,
    ...meter.cost(),
  };
}

/** KL(p ‖ q) of the softmax of two rows of logits, in nats; rounding does not make it negative. */
export function divergenceOf(p: Float32Array, q: Float32Array): number {
  const [a, b] = [p, q].map((row) => {
    const { max, rest } = normalizer(row);
    return max + rest;
  });
  let sum = 0;
  for (let i = 0; i < p.length; i++) {
    const log = p[i] - a;
    const weight = Math.exp(log);
    if (weight > 0) sum += weight * (log - (q[i] - b));
  }
  return Math.max(0, sum);
}
