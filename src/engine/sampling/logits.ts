/**
 * @file What may be done to logits before a token is drawn from them.
 *
 * A processor changes the logits in place; a token that is out is -Infinity. The sampler puts them
 * together in Hugging Face's order: bias, bans, penalties, the caller's own, temperature, top-k, top-p, min-p.
 * Nothing here sorts the vocabulary: the few leading tokens are found in one pass with a small heap, or by partitioning.
 */
import { InputError } from '../../util/errors.ts';
import { wholeNumber } from '../../util/numbers.ts';

/** What a processor may look at besides the logits. */
export interface LogitsContext {
  /** All tokens so far: the prompt's, then those that were written. */
  readonly tokens: readonly number[];
  /** How many of `tokens` are the prompt's. */
  readonly promptLength: number;
}

/** Changes logits [V] in place. */
export type LogitsProcessor = (logits: Float32Array, context: LogitsContext) => void;

/** Token ids and what is added to their logits: -Infinity bans one. */
export type LogitBias = ReadonlyMap<number, number> | Readonly<Record<number, number>>;

/**
 * Divides by the temperature, after taking off the largest logit (which changes no probability), so that a small
 * temperature can't overflow.
 * @throws InputError unless it is a finite number above 0.
 */
export function temperature(value: number): LogitsProcessor {
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
export function topK(k: number): LogitsProcessor {
  wholeNumber('topK', k);
  const order = new Order();
  return (logits) => {
    if (k < logits.length) order.keep(logits, order.largest(logits, k));
  };
}

/**
 * Nucleus sampling (Holtzman et al. 2020, arXiv 1904.09751): keeps the fewest of the most likely tokens whose
 * probabilities come to at least p; always at least one.
 * @throws InputError unless 0 < p <= 1.
 */
export function topP(p: number): LogitsProcessor {
  within('topP', p, p > 0 && p <= 1, 'above 0 and at most 1');
  const order = new Order();
  return (logits) => {
    if (p === 1 || order.fill(logits) === 0) return;
    const max = maximum(logits);
    const weights = order.weigh(logits, max);
    // All tokens below this come to less than 1 - p together, so that the others suffice.
    order.narrow(logits, max + Math.log(((1 - p) * order.total) / logits.length));
    order.keep(
      logits,
      order.lead(logits, (id) => weights[id], p * order.total),
    );
  };
}

/**
 * Keeps tokens at least `p` times as likely as the most likely one (Nguyen et al. 2024, arXiv 2407.01082).
 * @throws InputError unless 0 <= p <= 1.
 */
export function minP(p: number): LogitsProcessor {
  within('minP', p, p >= 0 && p <= 1, 'from 0 to 1');
  return (logits) => {
    const least = maximum(logits) + Math.log(p);
    for (let i = 0; i < logits.length; i++) if (logits[i] < least) logits[i] = -Infinity;
  };
}

/**
 * Makes every token of the context less likely (Keskar et al. 2019, arXiv 1909.05858): positive logits are divided by the
 * penalty, negative ones multiplied, once for each token however often it stands there.
 * @throws InputError unless it is a finite number above 0.
 */
export function repetitionPenalty(penalty: number): LogitsProcessor {
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
export function frequencyPenalty(penalty: number): LogitsProcessor {
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
export function presencePenalty(penalty: number): LogitsProcessor {
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
export function logitBias(bias: LogitBias): LogitsProcessor {
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
export function bannedTokens(tokens: readonly number[]): LogitsProcessor {
  const banned = [...tokens];
  for (const token of banned) wholeNumber('a token id of bannedTokens', token, 0);
  return (logits) => {
    for (const token of banned) logits[inVocabulary('bannedTokens', token, logits)] = -Infinity;
  };
}

/**
 * The ids of the n most likely tokens, the most likely first; of equal ones the lower id first.
 */
export function mostLikely(logits: Float32Array, n: number, order: Order = new Order()): number[] {
  const count = order.largest(logits, n);
  return [...order.ids.subarray(0, count)].sort((a, b) => (precedes(logits, a, b) ? -1 : 1));
}

/** The largest logit; -Infinity where there is none, NaN is passed over. */
export function maximum(logits: Float32Array): number {
  let max = -Infinity;
  for (let i = 0; i < logits.length; i++) if (logits[i] > max) max = logits[i];
  return max;
}

/** Token ids partly ordered by their logits, in memory that is used again at every step. */
export class Order {
  ids = new Int32Array(0);
  /** How many of {@link ids} are taken. */
  count = 0;
  /** By id, of the taken ones: what {@link weigh} found, and what it came to. */
  weights = new Float64Array(0);
  total = 0;
  /** Logits set aside. */
  #kept = new Float32Array(0);

  /** Takes all ids that are still possible, and not below `least`. */
  fill(logits: Float32Array, least = -Infinity): number {
    if (this.ids.length < logits.length) this.ids = new Int32Array(logits.length);
    let count = 0;
    for (let id = 0; id < logits.length; id++)
      if (logits[id] >= least && logits[id] > -Infinity) this.ids[count++] = id;
    this.count = count;
    return count;
  }

  /** Gives up the taken ids whose logits are below `least`. */
  narrow(logits: Float32Array, least: number): void {
    let count = 0;
    for (let i = 0; i < this.count; i++) if (logits[this.ids[i]] >= least) this.ids[count++] = this.ids[i];
    this.count = count;
  }

  /**
   * Brings the ids of the n largest logits to the front, in no order.
   * @returns n, or how many there are.
   */
  largest(logits: Float32Array, n: number): number {
    // The heap's work grows with n, and soon outweighs that of a partition of everything.
    const least = n * 8 < logits.length ? this.#nthLargest(logits, n) : -Infinity;
    const count = Math.min(n, this.fill(logits, least));
    return count === 0 ? 0 : this.lead(logits, () => 1, count);
  }

  /** exp(logit - max) of every taken id, at the id's index. */
  weigh(logits: Float32Array, max: number): Float64Array {
    if (this.weights.length < logits.length) this.weights = new Float64Array(logits.length);
    this.total = 0;
    for (let i = 0; i < this.count; i++) {
      const id = this.ids[i];
      const weight = Math.exp(logits[id] - max);
      this.weights[id] = weight;
      this.total += weight;
    }
    return this.weights;
  }

  /**
   * Brings the fewest leading ids whose weights come to `target` to the front (quickselect by weight).
   * @returns how many they are: at least one, at most all.
   */
  lead(logits: Float32Array, weightOf: (id: number) => number, target: number): number {
    const { ids } = this;
    let low = 0;
    let high = this.count;
    let before = 0;
    while (high - low > 2) {
      const pivot = medianOfThree(logits, ids[low], ids[(low + high) >> 1], ids[high - 1]);
      let end = low;
      let weight = 0;
      for (let i = low; i < high; i++) {
        const id = ids[i];
        if (id !== pivot && !precedes(logits, id, pivot)) continue;
        ids[i] = ids[end];
        ids[end++] = id;
        weight += weightOf(id);
      }
      if (before + weight >= target) high = end;
      else {
        before += weight;
        low = end;
      }
    }
    if (high - low < 2) return high;
    const [first, second] = [ids[low], ids[low + 1]];
    if (precedes(logits, second, first)) ids.set([second, first], low);
    return before + weightOf(ids[low]) >= target ? low + 1 : high;
  }

  /** Makes all tokens but the first n of the taken ones impossible. */
  keep(logits: Float32Array, n: number): void {
    if (this.#kept.length < n) this.#kept = new Float32Array(n);
    for (let i = 0; i < n; i++) this.#kept[i] = logits[this.ids[i]];
    logits.fill(-Infinity);
    for (let i = 0; i < n; i++) logits[this.ids[i]] = this.#kept[i];
  }

  /** The n-th largest logit, by a heap of the n largest so far with the smallest of them on top. */
  #nthLargest(logits: Float32Array, n: number): number {
    if (n === 0) return Infinity;
    if (this.#kept.length < n) this.#kept = new Float32Array(n);
    const heap = this.#kept.subarray(0, n).fill(-Infinity);
    for (let id = 0; id < logits.length; id++) {
      const logit = logits[id];
      if (!(logit > heap[0])) continue;
      let at = 0;
      for (;;) {
        let child = 2 * at + 1;
        if (child + 1 < n && heap[child + 1] < heap[child]) child++;
        if (child >= n || heap[child] >= logit) break;
        heap[at] = heap[child];
        at = child;
      }
      heap[at] = logit;
    }
    return heap[0];
  }
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

function precedes(logits: Float32Array, a: number, b: number): boolean {
  return logits[a] > logits[b] || (logits[a] === logits[b] && a < b);
}

function medianOfThree(logits: Float32Array, a: number, b: number, c: number): number {
  const [first, second] = precedes(logits, a, b) ? [a, b] : [b, a];
  if (precedes(logits, c, first)) return first;
  return precedes(logits, second, c) ? second : c;
}

/** @throws InputError that names the option, what it may be and what it is. */
export function within(name: string, value: unknown, fine: boolean, allowed: string): void {
  if (typeof value !== 'number' || !fine) throw new InputError(`${name} must be ${allowed}, but is ${String(value)}`);
}

function idOf(key: string): number {
  return /^\d+$/.test(key) ? Number(key) : Number.NaN;
}

function inVocabulary(name: string, token: number, logits: Float32Array): number {
  if (token >= logits.length)
    throw new InputError(`${name} names token ${token}, but the vocabulary has ids 0 to ${logits.length - 1}`);
  return token;
}
