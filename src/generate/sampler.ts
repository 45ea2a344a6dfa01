/**
 * @file From logits to a token: greedy, or drawn at random after the processors that the options ask for.
 */
import { GraphError, InputError } from '../errors.ts';
import { wholeNumber } from '../numbers.ts';
import {
  bannedTokens,
  frequencyPenalty,
  type LogitBias,
  type LogitsContext,
  type LogitsProcessor,
  logitBias,
  maximum,
  minP,
  mostLikely,
  Order,
  presencePenalty,
  repetitionPenalty,
  temperature,
  topK,
  topP,
} from './logits.ts';
import { Random } from './random.ts';

/**
 * How tokens are chosen. They take effect in this order, which is Hugging Face's: `logitBias`, `bannedTokens`,
 * `repetitionPenalty`, `frequencyPenalty`, `presencePenalty`, `processors`, `temperature`, `topK`, `topP`, `minP`.
 */
export interface SamplingOptions {
  /** 0 (unless stated): always the most likely token, so that `topK`, `topP`, `minP` and `seed` change nothing. */
  readonly temperature?: number;
  /** Draw from this many of the most likely tokens; 0 or nothing: from all. */
  readonly topK?: number;
  /** Draw from the fewest most likely tokens whose probabilities come to this; above 0, at most 1. */
  readonly topP?: number;
  /** Draw from tokens at least this many times as likely as the most likely one; 0 to 1. */
  readonly minP?: number;
  /** Above 1: tokens of prompt and text become less likely; 1 changes nothing. */
  readonly repetitionPenalty?: number;
  /** Taken off the logit of a written token, as often as it was written. */
  readonly frequencyPenalty?: number;
  /** Taken off the logit of a written token, once. */
  readonly presencePenalty?: number;
  /** Added to single tokens' logits. */
  readonly logitBias?: LogitBias;
  /** Tokens never to be written. */
  readonly bannedTokens?: readonly number[];
  /** A whole number; the same seed gives the same text. A random one unless stated. */
  readonly seed?: number;
  /** The caller's own changes to the logits. */
  readonly processors?: readonly LogitsProcessor[];
}

export interface TokenLogprob {
  readonly token: number;
  /** Natural logarithm of the probability that the model itself gives the token, before any processor. */
  readonly logprob: number;
}

/** A token that was chosen. */
export interface Sample extends TokenLogprob {
  /** The most likely tokens by the same distribution, where asked for. */
  readonly top?: TokenLogprob[];
}

/**
 * Chooses tokens. It holds a random generator, so one sampler belongs to one sequence.
 */
export class Sampler {
  readonly #changing: readonly LogitsProcessor[];
  readonly #drawing: readonly LogitsProcessor[];
  readonly #random: Random | null;
  readonly #order = new Order();
  #scratch = new Float32Array(0);

  /** @throws InputError for an option out of its range, with its name and value. */
  constructor(options: SamplingOptions = {}) {
    const heat = options.temperature ?? 0;
    if (typeof heat !== 'number' || !(heat >= 0 && heat < Infinity))
      throw new InputError(`temperature must be at least 0 and finite, but is ${String(heat)}`);
    this.#changing = changingProcessors(options);
    // Built even where they will not run, so that a wrong value is always told.
    const narrowing = narrowingProcessors(options);
    const random = new Random(options.seed);
    this.#drawing = heat > 0 ? [temperature(heat), ...narrowing] : [];
    this.#random = heat > 0 ? random : null;
  }

  /**
   * @param logits [V], the model's; they are left as they are.
   * @param topLogprobs how many of the most likely tokens to report.
   * @throws GraphError for logits that are not numbers; InputError where the options leave no token.
   */
  sample(logits: Float32Array, context: LogitsContext, topLogprobs = 0): Sample {
    wholeNumber('topLogprobs', topLogprobs, 0);
    const norm = normaliser(logits);
    const token = this.#choose(logits, context);
    const logprobOf = (id: number): TokenLogprob => ({ token: id, logprob: logits[id] - norm.max - norm.rest });
    if (topLogprobs === 0) return logprobOf(token);
    return { ...logprobOf(token), top: mostLikely(logits, topLogprobs, this.#order).map(logprobOf) };
  }

  #choose(logits: Float32Array, context: LogitsContext): number {
    if (this.#changing.length === 0 && !this.#random) return mostLikelyToken(logits);
    if (this.#scratch.length !== logits.length) this.#scratch = new Float32Array(logits.length);
    const changed = this.#scratch;
    changed.set(logits);
    for (const process of this.#changing) process(changed, context);
    const best = mostLikelyToken(changed);
    if (!this.#random) return best;
    for (const process of this.#drawing) process(changed, context);
    return this.#draw(changed, changed[best], this.#random);
  }

  #draw(logits: Float32Array, max: number, random: Random): number {
    const order = this.#order;
    const count = order.fill(logits);
    const weights = order.weigh(logits, max);
    const target = random.next() * order.total;
    let sum = 0;
    let last = -1;
    for (let i = 0; i < count; i++) {
      const id = order.ids[i];
      if (weights[id] === 0) continue;
      sum += weights[id];
      last = id;
      if (sum > target) break;
    }
    return last;
  }
}

/**
 * The natural logarithm of a token's probability under the logits [V], in float64.
 * @throws GraphError where a logit is NaN or infinite above, or none is above -Infinity; InputError for a token outside
 * the vocabulary.
 */
export function logSoftmaxAt(logits: Float32Array, token: number): number {
  if (!Number.isSafeInteger(token) || token < 0 || token >= logits.length)
    throw new InputError(`token ${token} is not in the vocabulary, which has ids 0 to ${logits.length - 1}`);
  const norm = normaliser(logits);
  return logits[token] - norm.max - norm.rest;
}

/** ln(sum of exp) of the logits as their maximum and the rest, which would be lost in a sum with a large maximum. */
function normaliser(logits: Float32Array): { max: number; rest: number } {
  const max = maximum(logits);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i] - max);
  if (sum >= 1) return { max, rest: Math.log(sum) };
  const bad = logits.findIndex((logit) => Number.isNaN(logit) || logit === Infinity);
  throw new GraphError(
    bad >= 0
      ? `the model's logit of token ${bad} is ${logits[bad]}: its weights may be damaged, or the graph overflowed`
      : `none of the model's ${logits.length} logits is above -Infinity: its weights may be damaged`,
  );
}

/** What changes the distribution whether a token is drawn or the best is taken. A neutral value costs nothing. */
function changingProcessors(options: SamplingOptions): LogitsProcessor[] {
  const list: LogitsProcessor[] = [];
  if (options.logitBias !== undefined) list.push(logitBias(options.logitBias));
  if (options.bannedTokens !== undefined) list.push(bannedTokens(options.bannedTokens));
  const { repetitionPenalty: repetition = 1, frequencyPenalty: frequency = 0, presencePenalty: presence = 0 } = options;
  if (repetition !== 1) list.push(repetitionPenalty(repetition));
  if (frequency !== 0) list.push(frequencyPenalty(frequency));
  if (presence !== 0) list.push(presencePenalty(presence));
  for (const process of options.processors ?? []) {
    if (typeof process !== 'function') throw new InputError(`processors must be functions, but one is ${process}`);
    list.push(process);
  }
  return list;
}

/** What narrows the choice that a token is drawn from. */
function narrowingProcessors(options: SamplingOptions): LogitsProcessor[] {
  const list: LogitsProcessor[] = [];
  const { topK: k = 0, topP: p = 1, minP: least = 0 } = options;
  if (wholeNumber('topK', k, 0) > 0) list.push(topK(k));
  if (p !== 1) list.push(topP(p));
  if (least !== 0) list.push(minP(least));
  return list;
}

/** The id of the largest logit, the lowest of equal ones. */
function mostLikelyToken(logits: Float32Array): number {
  let best = -1;
  let max = -Infinity;
  for (let id = 0; id < logits.length; id++) {
    const logit = logits[id];
    if (logit > max) {
      max = logit;
      best = id;
    } else if (Number.isNaN(logit)) {
      throw new InputError(`a logits processor made the logit of token ${id} NaN`);
    }
  }
  if (best < 0) throw new InputError('no token is left to choose: logitBias, bannedTokens or processors exclude all');
  if (max === Infinity) throw new InputError(`a logits processor made the logit of token ${best} infinite`);
  return best;
}
