/**
 * @file How likely a model finds a given text, token by token.
 */
import { InputError } from '../util/errors.ts';
import { wholeNumber } from '../util/numbers.ts';
import type { DecoderModel } from './model.ts';
import type { ScoreOptions } from './options.ts';
import { promptTokens, resolveCache } from './prompt.ts';
import { checkScore } from './request-options.ts';
import { type TokenLogprob, tokenLogprobs } from './sampling/sampler.ts';
import { TokenRanking } from './sampling/token-ranking.ts';
import { scoredAtOnce } from './schedule/chunk-schedule.ts';
import { prefillSteps } from './schedule/prefill.ts';

/** A token of the text. */
export interface ScoredToken {
  readonly token: number;
  /** Natural logarithm of its probability after those before it; null for the first, before which there is none. */
  readonly logprob: number | null;
  /** The most likely tokens at its position, where asked for; none for the first. */
  readonly top?: readonly TokenLogprob[];
}

/** How likely a model finds a text. */
export interface ScoreResult {
  /** The tokens of the text, in their order. */
  readonly tokens: readonly ScoredToken[];
  /** Sum of the logprobs of all tokens that have one: the log probability of the text. */
  readonly logprob: number;
  /** exp of the mean loss of a token; NaN where there is none. */
  readonly perplexity: number;
}

/** Reads the text through a cache, chunk by chunk; see {@link LanguageModel.score}. */
export async function scoreText(
  model: DecoderModel,
  text: string | readonly number[],
  options: ScoreOptions,
): Promise<ScoreResult> {
  checkScore(options);
  const { chunkLength, adapters, signal, leavesLast = false, onProgress } = options;
  const topLogprobs = wholeNumber('topLogprobs', options.topLogprobs ?? 0, 0);
  const cache = resolveCache(model, options.cache);
  if (cache.batch !== 1)
    throw new InputError(`a text is one row, but the cache has ${cache.batch}: make one with batch 1`);
  const ids = promptTokens(model, text, options, cache);
  const ranking = new TokenRanking();
  const width = model.config.vocabSize;
  const tokens: ScoredToken[] = [{ token: ids[0], logprob: null }];
  let sum = 0;
  const read = leavesLast ? ids.slice(0, -1) : ids;
  const steps = { chunkLength, adapters, signal, onProgress, logits: 'all' } as const;
  if (read.length > 0)
    for await (const { logits } of prefillSteps(model, cache, read, steps, scoredAtOnce(width)))
      for (let at = 0; at < logits.length && tokens.length < ids.length; at += width) {
        const scored = tokenLogprobs(logits.subarray(at, at + width), ids[tokens.length], topLogprobs, ranking);
        sum += scored.logprob;
        tokens.push(scored);
      }
  if (leavesLast) cache.setPending(0, [...cache.pending(), ids[ids.length - 1]]);
  return { tokens, logprob: sum, perplexity: Math.exp(-sum / (tokens.length - 1)) };
}
