/**
 * @file What may be done to logits before a token is drawn from them.
 *
 * A processor changes the logits in place; a token that is out is -Infinity. The sampler puts them
 * together in Hugging Face's order: bias, bans, penalties, the caller's own, temperature, top-k, top-p, min-p.
 * Nothing here sorts the vocabulary: the few leading tokens are found in one pass with a small heap, or by
 * partitioning.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';
import { shown } from '../../util/option-names.ts';
import { maximum, TokenRanking } from './token-ranking.ts';

/** What a processor may look at besides the logits. */
export interface LogitsContext {
  /** All tokens so far: the prompt's, then those that were written. */
  readonly tokens: readonly number[];
  /** How many of `tokens` are the prompt's. */
  readonly promptLength: number;
}

/** Changes logits [V] in place. */
export type LogitsFunction = (logits: Float32Array, context: LogitsContext) => void;

/** What a processor keeps for one sequence, such as the state of a grammar. It has `process`, `mask`, or both. */
export interface LogitsProcessorState {
  /** Called once, before the prompt is read. Other sequences go on meanwhile. */
  prepare?(): Promise<void>;
  /**
   * The tokens that may come next: bit `id % 32` of word `id / 32` for each; null: all of them. It is applied before
   * any other change, so that `topK` and the like choose among these tokens. The array may be used again for the next
   * call.
   */
  mask?(context: LogitsContext): Uint32Array | null;
  /** Changes logits [V] in place. */
  process?(logits: Float32Array, context: LogitsContext): void;
  /** The token that was chosen, one call for each, in their order. Ends of the text are told as well. */
  accept?(token: number): void;
  /**
   * Whether nothing can follow the accepted tokens: the sequence then ends as at a token of `eosTokenIds`, without
   * another step.
   */
  readonly ended?: boolean;
}

/** Makes the tokens impossible whose bits are not set. */
export function applyMask(logits: Float32Array, mask: Uint32Array): void {
  for (let word = 0, id = 0; id < logits.length; word++) {
    const bits = mask[word] ?? 0;
    const end = Math.min(id + 32, logits.length);
    if (bits === 0) logits.fill(-Infinity, id, end);
    else if (bits !== ALL) for (let i = id; i < end; i++) if ((bits & (1 << (i - id))) === 0) logits[i] = -Infinity;
    id = end;
  }
}

/** A word of a mask that allows all of its tokens. */
const ALL = 2 ** 32 - 1;

/** A function, or an object that makes a state for each sequence. */
export type LogitsProcessor = LogitsFunction | { create(): LogitsProcessorState };

/** Token ids and what is added to their logits: -Infinity bans one. */
export type LogitBias = ReadonlyMap<number, number> | Readonly<Record<number, number>>;

/**
 * Divides by the temperature, after taking off the largest logit (which changes no probability), so that a small
 * temperature can't overflow.
 * @throws InputError unless it is a finite number above 0.
 */
export function temperature(value: number): LogitsFunction {
  within('temperature', value, value > 0 && value < Infinity, 'above 0 and finite');
  return (logits) => {
    const max = maximum(logits);
    if (max === -Infinity) return;
    for (let i = 0; i < logits.length; i++) logits[i] = (logits[i] - max) / value;
  };
}

/**
 * Keeps the k most likely tokens; of equal ones those with lower ids.
 * @throws InputError unless k is a whole number of at least 1.
 */
export function topK(k: number): LogitsFunction {
  wholeNumber('topK', k);
  const ranking = new TokenRanking();
  return (logits) => {
    if (k < logits.length) ranking.keep(logits, ranking.largest(logits, k));
  };
}

/**
 * Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751): keeps the fewest of the most likely tokens whose
 * probabilities come to at least p; always at least one.
 * @throws InputError unless 0 < p <= 1.
 */
export function topP(p: number): LogitsFunction {
  within('topP', p, p > 0 && p <= 1, 'above 0 and at most 1');
  const ranking = new TokenRanking();
  return (logits) => {
    if (p === 1 || ranking.fill(logits) === 0) return;
    const max = maximum(logits);
    const weights = ranking.weigh(logits, max);
    // All tokens below this come to less than 1 - p together, so that the others suffice.
    ranking.narrow(logits, max + Math.log(((1 - p) * ranking.total) / logits.length));
    ranking.keep(
      logits,
      ranking.lead(logits, (id) => weights[id], p * ranking.total),
    );
  };
}

/**
 * Keeps tokens at least `p` times as likely as the most likely one (Nguyen et al. 2024, arXiv 2407.01082).
 * @throws InputError unless 0 <= p <= 1.
 */
export function minP(p: number): LogitsFunction {
  within('minP', p, p >= 0 && p <= 1, 'from 0 to 1');
  return (logits) => {
    const least = maximum(logits) + Math.log(p);
    for (let i = 0; i < logits.length; i++) if (logits[i] < least) logits[i] = -Infinity;
  };
}

/**
 * Makes every token of the context less likely (Keskar et al. 2019, arXiv 1909.05858): positive logits are divided by
 * the penalty, negative ones multiplied, once for each token however often it stands there.
 * @throws InputError unless it is a finite number above 0.
 */
export function repetitionPenalty(penalty: number): LogitsFunction {
  within('repetitionPenalty', penalty, penalty > 0 && penalty < Infinity, 'above 0 and finite');
  const counts = new Counts();
  return (logits, { tokens }) => {
    counts.each(logits.length, tokens, 0, (token) => {
      logits[token] = logits[token] < 0 ? logits[token] * penalty : logits[token] / penalty;
    });
  };
}

/**
 * Takes the penalty off a written token's logit as often as it was written (OpenAI's frequency_penalty).
 * @throws InputError unless it is a finite number.
 */
export function frequencyPenalty(penalty: number): LogitsFunction {
  within('frequencyPenalty', penalty, Number.isFinite(penalty), 'a finite number');
  const counts = new Counts();
  return (logits, { tokens, promptLength }) => {
    counts.each(logits.length, tokens, promptLength, (token, count) => {
      logits[token] -= count * penalty;
    });
  };
}

/**
 * Takes the penalty off the logit of each token that was written, once (OpenAI's presence_penalty).
 * @throws InputError unless it is a finite number.
 */
export function presencePenalty(penalty: number): LogitsFunction {
  within('presencePenalty', penalty, Number.isFinite(penalty), 'a finite number');
  const counts = new Counts();
  return (logits, { tokens, promptLength }) => {
    counts.each(logits.length, tokens, promptLength, (token) => {
      logits[token] -= penalty;
    });
  };
}

/**
 * Adds to single logits.
 * @throws InputError for ids that are not whole numbers and biases that are neither finite nor -Infinity; when it runs,
 * for ids outside the vocabulary.
 */
export function logitBias(bias: LogitBias): LogitsFunction {
  const pairs: [number, number][] =
    bias instanceof Map ? [...bias] : Object.entries(bias).map(([k, v]) => [idOf(k), v]);
  for (const [token, value] of pairs) {
    wholeNumber('a token id of logitBias', token, 0);
    const fine = typeof value === 'number' && !Number.isNaN(value) && value < Infinity;
    within(`logitBias of token ${token}`, value, fine, 'a finite number or -Infinity');
  }
  return (logits) => {
    for (const [token, value] of pairs) logits[inVocabulary('logitBias', token, logits)] += value;
  };
}

/**
 * Makes tokens impossible.
 * @throws InputError for ids that are not whole numbers; when it runs, for ids outside the vocabulary.
 */
export function bannedTokens(tokens: readonly number[]): LogitsFunction {
  const banned = [...tokens];
  for (const token of banned) wholeNumber('a token id of bannedTokens', token, 0);
  return (logits) => {
    for (const token of banned) logits[inVocabulary('bannedTokens', token, logits)] = -Infinity;
  };
}

/** How often tokens occur, in memory that is used again at every step. */
class Counts {
  #counts = new Uint32Array(0);

  /** Calls `visit` once for each token of the vocabulary that occurs from `from` on. */
  each(
    vocabSize: number,
    tokens: readonly number[],
    from: number,
    visit: (token: number, count: number) => void,
  ): void {
    if (this.#counts.length < vocabSize) this.#counts = new Uint32Array(vocabSize);
    const counts = this.#counts;
    for (let i = from; i < tokens.length; i++) if (tokens[i] < vocabSize) counts[tokens[i]]++;
    for (let i = from; i < tokens.length; i++) {
      const token = tokens[i];
      if (token >= vocabSize || counts[token] === 0) continue;
      visit(token, counts[token]);
      counts[token] = 0;
    }
  }
}

/** @throws InputError that names the option, what it may be and what it is. */
function within(name: string, value: unknown, fine: boolean, allowed: string): void {
  if (typeof value !== 'number' || !fine) throw new InputError(`${name} must be ${allowed}, but is ${String(value)}`);
}

function idOf(key: string): number {
  if (/^\d+$/.test(key)) return Number(key);
  throw new InputError(`a token id of logitBias must be a whole number of at least 0, but is ${shown(key)}`);
}

function inVocabulary(name: string, token: number, logits: Float32Array): number {
  if (token >= logits.length)
    throw new InputError(`${name} names token ${token}, but the vocabulary has ids 0 to ${logits.length - 1}`);
  return token;
}
