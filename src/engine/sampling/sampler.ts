/**
 * @file From logits to a token: greedy, or drawn at random after the processors that the options ask for.
 */
import { GraphError, InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { Random } from '../../util/random.ts';
import { sumOfExp } from './exp.ts';
import {
  applyMask,
  bannedTokens,
  frequencyPenalty,
  type LogitBias,
  type LogitsContext,
  type LogitsFunction,
  type LogitsProcessor,
  type LogitsProcessorState,
  logitBias,
  minP,
  presencePenalty,
  repetitionPenalty,
  temperature,
  topK,
  topP,
} from './logits.ts';
import { maximum, mostLikely, TokenRanking } from './token-ranking.ts';

/**
 * How tokens are chosen. They take effect in this order, which is Hugging Face's, after the masks of `processors`:
 * `logitBias`, `bannedTokens`, `repetitionPenalty`, `frequencyPenalty`, `presencePenalty`, `processors`, `temperature`,
 * `topK`, `topP`, `minP`.
 */
export interface SamplingOptions {
  /** 0: always the most likely token; `topK`, `topP`, `minP` and `seed` then change nothing. @default 0 */
  readonly temperature?: number;
  /** Draw from this many of the most likely tokens; 0: from all. @default 0 */
  readonly topK?: number;
  /** Draw from the fewest most likely tokens whose probabilities come to this; above 0, at most 1. @default 1 */
  readonly topP?: number;
  /** Draw from tokens at least this many times as likely as the most likely one; 0 to 1. @default 0 */
  readonly minP?: number;
  /** Above 1: tokens of prompt and text become less likely; 1 changes nothing. @default 1 */
  readonly repetitionPenalty?: number;
  /** Taken off the logit of a written token, as often as it was written. @default 0 */
  readonly frequencyPenalty?: number;
  /** Taken off the logit of a written token, once. @default 0 */
  readonly presencePenalty?: number;
  /** Added to single tokens' logits. @default none */
  readonly logitBias?: LogitBias;
  /** Tokens that are never chosen. @default none */
  readonly bannedTokens?: readonly number[];
  /** A whole number; the same seed gives the same text. @default random */
  readonly seed?: number;
  /**
   * The caller's own changes to the logits: functions, or objects that make a state for each sequence. @default none
   */
  readonly processors?: readonly LogitsProcessor[];
}

/** A token, and how likely the model finds it. */
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

/** A drafted token, and the distribution it was drawn from. */
export interface Proposal {
  readonly token: number;
  /** The distribution that it was drawn from [V]; null where nothing was drawn: it is that token or none. */
  readonly probabilities: Float64Array | null;
}

/**
 * Chooses tokens. It holds a random generator, so one sampler belongs to one sequence.
 */
export class Sampler {
  readonly #changing: readonly LogitsFunction[];
  readonly #drawing: readonly LogitsFunction[];
  /** Told which token was chosen. */
  readonly #states: readonly LogitsProcessorState[];
  readonly #random: Random | null;
  readonly #ranking = new TokenRanking();
  #scratch = new Float32Array(0);

  /** Whether a processor lets nothing follow. */
  get ended(): boolean {
    return this.#states.some((state) => state.ended);
  }

  /** Prepares the processors that want it; null: none does. */
  prepare(): Promise<unknown> | null {
    const waits = this.#states.flatMap((state) => state.prepare?.() ?? []);
    return waits.length > 0 ? Promise.all(waits) : null;
  }

  /** @throws InputError for an option out of its range, with its name and value. */
  constructor(options: SamplingOptions = {}) {
    const heat = options.temperature ?? 0;
    if (typeof heat !== 'number' || !(heat >= 0 && heat < Infinity))
      throw new InputError(`temperature must be at least 0 and finite, but is ${String(heat)}`);
    this.#states = (options.processors ?? []).flatMap(stateOf);
    this.#changing = changingProcessors(options, this.#states);
    // Built even where they will not run, so that a wrong value is always told.
    const narrowing = narrowingProcessors(options);
    const random = new Random(options.seed);
    this.#drawing = heat > 0 ? [temperature(heat), ...narrowing] : [];
    this.#random = heat > 0 ? random : null;
  }

  /**
   * @param logits [V], the model's; they are left as they are.
   * @param topLogprobs how many of the most likely tokens to report.
   * @param proposal a token that is to be taken as often as may be without changing the distribution.
   * @throws GraphError for logits that are not numbers; InputError where the options leave no token.
   */
  sample(logits: Float32Array, context: LogitsContext, topLogprobs = 0, proposal: Proposal | null = null): Sample {
    const norm = normalizer(logits);
    const token = this.#choose(logits, context, proposal);
    for (const state of this.#states) state.accept?.(token);
    return report(logits, norm, token, wholeNumber('topLogprobs', topLogprobs, 0), this.#ranking);
  }

  /** Draws a token, and tells what it was drawn from. */
  propose(logits: Float32Array, context: LogitsContext): Proposal {
    const certain = this.#process(logits, context);
    if (certain !== null) return { token: certain, probabilities: null };
    const ranking = this.#ranking;
    const probabilities = new Float64Array(logits.length);
    for (let i = 0; i < ranking.count; i++)
      probabilities[ranking.ids[i]] = ranking.weights[ranking.ids[i]] / ranking.total;
    return { token: this.#draw(this.#random!), probabilities };
  }

  #choose(logits: Float32Array, context: LogitsContext, proposal: Proposal | null): number {
    const certain = this.#process(logits, context);
    if (certain !== null) return certain;
    if (proposal?.probabilities) return this.#judge(proposal.token, proposal.probabilities, this.#random!);
    return this.#draw(this.#random!);
  }

  /**
   * Brings the logits to the weights that a token is drawn by.
   * @returns the token, where there is nothing to draw.
   */
  #process(logits: Float32Array, context: LogitsContext): number | null {
    if (this.#changing.length === 0 && !this.#random) return mostLikelyToken(logits);
    if (this.#scratch.length !== logits.length) this.#scratch = new Float32Array(logits.length);
    const changed = this.#scratch;
    changed.set(logits);
    for (const process of this.#changing) process(changed, context);
    const best = mostLikelyToken(changed);
    if (!this.#random) return best;
    for (const process of this.#drawing) process(changed, context);
    this.#ranking.fill(changed);
    this.#ranking.weigh(changed, changed[best]);
    return null;
  }

  #draw(random: Random): number {
    const { ids, count, weights, total } = this.#ranking;
    const target = random.next() * total;
    let sum = 0;
    let last = -1;
    for (let i = 0; i < count; i++) {
      const id = ids[i];
      if (weights[id] === 0) continue;
      sum += weights[id];
      last = id;
      if (sum > target) break;
    }
    return last;
  }

  /**
   * Takes a token that was drawn from q with probability min(1, p/q), and otherwise draws from max(p - q, 0): together
   * that is p (Leviathan et al. 2023, arXiv 2211.17192).
   */
  #judge(token: number, q: Float64Array, random: Random): number {
    const { ids, count, weights, total } = this.#ranking;
    const possible = this.#scratch[token] > -Infinity;
    if (random.next() * q[token] < (possible ? weights[token] / total : 0)) return token;
    const missing = (id: number) => Math.max(0, weights[id] / total - (q[id] ?? 0));
    let sum = 0;
    for (let i = 0; i < count; i++) sum += missing(ids[i]);
    const target = random.next() * sum;
    let last = -1;
    let reached = 0;
    for (let i = 0; i < count && (last < 0 || reached <= target); i++) {
      if (missing(ids[i]) === 0) continue;
      reached += missing(ids[i]);
      last = ids[i];
    }
    // Where p and q are the same but for rounding, nothing is missing.
    return last < 0 ? this.#draw(random) : last;
  }
}

/** A token's log probability, and those of the most likely ones. */
function report(logits: Float32Array, norm: Normalizer, token: number, count: number, ranking: TokenRanking): Sample {
  const logprobOf = (id: number): TokenLogprob => ({ token: id, logprob: logits[id] - norm.max - norm.rest });
  if (count === 0) return logprobOf(token);
  return { ...logprobOf(token), top: mostLikely(logits, count, ranking).map(logprobOf) };
}

/**
 * The natural logarithm of a token's probability under the logits [V], and where asked for those of the most likely
 * tokens.
 * @throws GraphError, InputError as {@link logSoftmaxAt}.
 */
export function tokenLogprobs(
  logits: Float32Array,
  token: number,
  topLogprobs = 0,
  ranking = new TokenRanking(),
): Sample {
  inVocabulary(logits, token);
  return report(logits, normalizer(logits), token, topLogprobs, ranking);
}

/**
 * The natural logarithm of a token's probability under the logits [V], in float64.
 * @throws GraphError where a logit is NaN or infinite above, or none is above -Infinity; InputError for a token outside
 * the vocabulary.
 */
export function logSoftmaxAt(logits: Float32Array, token: number): number {
  inVocabulary(logits, token);
  const norm = normalizer(logits);
  return logits[token] - norm.max - norm.rest;
}

function inVocabulary(logits: Float32Array, token: number): void {
  if (!Number.isSafeInteger(token) || token < 0 || token >= logits.length)
    throw new InputError(`token ${token} is not in the vocabulary, which has ids 0 to ${logits.length - 1}`);
}

/** ln(sum of exp) as a maximum and the rest, which would be lost in a sum with a large maximum. */
interface Normalizer {
  readonly max: number;
  readonly rest: number;
}

/** @throws GraphError as {@link logSoftmaxAt}. */
export function normalizer(logits: Float32Array): Normalizer {
  const max = maximum(logits);
  const sum = sumOfExp(logits, max);
  if (sum >= 1) return { max, rest: Math.log(sum) };
  const bad = logits.findIndex((logit) => Number.isNaN(logit) || logit === Infinity);
  throw new GraphError(
    bad >= 0
      ? `the model's logit of token ${bad} is ${logits[bad]}: its weights may be damaged, or the graph overflowed`
      : `none of the model's ${logits.length} logits is above -Infinity: its weights may be damaged`,
  );
}

/** What changes the distribution whether a token is drawn or the best is taken. A neutral value costs nothing. */
function changingProcessors(options: SamplingOptions, states: readonly LogitsProcessorState[]): LogitsFunction[] {
  const list: LogitsFunction[] = [];
  for (const state of states)
    if (state.mask)
      list.push((logits, context) => {
        const mask = state.mask!(context);
        if (mask) applyMask(logits, mask);
      });
  if (options.logitBias !== undefined) list.push(logitBias(options.logitBias));
  if (options.bannedTokens !== undefined) list.push(bannedTokens(options.bannedTokens));
  const { repetitionPenalty: repetition = 1, frequencyPenalty: frequency = 0, presencePenalty: presence = 0 } = options;
  if (repetition !== 1) list.push(repetitionPenalty(repetition));
  if (frequency !== 0) list.push(frequencyPenalty(frequency));
  if (presence !== 0) list.push(presencePenalty(presence));
  for (const state of states) if (state.process) list.push((logits, context) => runProcessor(state, logits, context));
  return list;
}

/** The state of a caller's processor for one sequence. @throws InputError for what is none. */
function stateOf(processor: LogitsProcessor): LogitsProcessorState {
  if (typeof processor === 'function') return { process: processor };
  const state = processor?.create?.();
  if (typeof state?.process !== 'function' && typeof state?.mask !== 'function')
    throw new InputError(
      `processors must be functions, or objects with create() as of a grammar, but one is ${processor}`,
    );
  return state;
}

/** Runs a caller's processor. @throws InputError for a promise: its changes would come after the token is chosen. */
function runProcessor(state: LogitsProcessorState, logits: Float32Array, context: LogitsContext): void {
  const returned: unknown = state.process?.(logits, context);
  if (!(returned instanceof Promise)) return;
  returned.catch(() => {}); // an error of it would end the process
  throw new InputError('a logits processor returned a promise, but must change the logits before it returns');
}

/** What narrows the choice that a token is drawn from. */
function narrowingProcessors(options: SamplingOptions): LogitsFunction[] {
  const list: LogitsFunction[] = [];
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
