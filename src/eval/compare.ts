/**
 * @file Policies side by side: what each of them is worth under each budget, and what it costs.
 */
import type { LanguageModel } from '../engine/language-model.ts';
import { checkModelCall } from '../engine/text-model.ts';
import type { BufferChoice } from '../kvcache/buffers.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { checkFilledList, checkList } from '../util/arguments.ts';
import { CacheFullError, InputError, PolicyError } from '../util/errors.ts';
import { isObject } from '../util/json/is-object.ts';
import { type Interval, meanInterval } from './bootstrap.ts';
import type { Cost } from './cost.ts';
import { type DivergenceResult, divergence } from './divergence.ts';
import { groupBy } from './group-by.ts';
import { cutWindows, type PerplexityResult, perplexity } from './perplexity.ts';
import { checkCases, measureRecall, type QuestionPosition, type RecallCase } from './recall.ts';
import { EVAL_CHUNK } from './steps.ts';

/** A policy to compare: its name, and options besides the budget. */
export interface Contestant {
  /** What results call it. */
  readonly name: string;
  /** As the option of a cache: a name, one made by `definePolicy`, or by a function of `keyhold/policies`. */
  readonly policy: NonNullable<AnyCacheOptions['policy']>;
  /** Options of its caches besides the budget. @default none */
  readonly options?: Partial<AnyCacheOptions>;
}

/** Which policies are compared, under which budgets, and by what. */
export interface CompareOptions {
  /** The policies. A dense cache is measured before them. */
  readonly contestants: readonly Contestant[];
  /** Budgets as parts of the context, above 0 and up to 1. */
  readonly budgets: readonly number[];
  /**
   * What budgets are parts of: `slots` of the context, or `bytes` of a dense float16 cache for it, of which everything
   * that a cache keeps is paid.
   * @default 'slots'
   */
  readonly unit?: 'slots' | 'bytes';
  /** How all caches store keys and values, the dense one apart. @default float32, or what the bytes choose */
  readonly buffer?: BufferChoice;
  /** Text for perplexity; left out, it is not measured. */
  readonly text?: string;
  /** Whether the divergence from the dense cache is measured on the text, too. @default false */
  readonly divergence?: boolean;
  /** Tokens of each window of the text, of which a budget is a part. @default as of `perplexity` */
  readonly windowLength?: number;
  /** Windows to take from the start of the text. @default all */
  readonly windows?: number;
  /** Cases for recall, left out: not measured; a budget is a part of each case's own length. */
  readonly cases?: readonly RecallCase[];
  /** Where the question stands. @default after the context only: a policy does not know it */
  readonly questions?: readonly QuestionPosition[];
  /** Tokens of a chunk. @default 64 */
  readonly chunkLength?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told after each result, with the number of those that are done and of all. */
  readonly onResult?: (result: CompareResult, done: number, total: number) => void;
}

/** One policy under one budget. */
export interface CompareResult {
  /** Name of the contestant. */
  readonly policy: string;
  /** Part of the context; 1 for the dense cache that all are measured against. */
  readonly budget: number;
  /** What the budget is a part of. @default 'slots' */
  readonly unit?: 'slots' | 'bytes';
  /** Perplexity of the text; absent where there was none. */
  readonly perplexity?: number;
  /** The 95 % interval of the perplexity; absent where there are fewer than 5 chunks of text. */
  readonly perplexityInterval?: Interval;
  /** Mean divergence from the dense cache, and its 95 % interval as that of the perplexity. */
  readonly divergence?: number;
  readonly divergenceInterval?: Interval;
  /** Windows of text that perplexity was measured on. */
  readonly windows?: number;
  /** By where the question stands. */
  readonly recall: Readonly<Partial<Record<QuestionPosition, number>>>;
  /** The 95 % intervals of the recall; absent where there are fewer than 5 cases. */
  readonly recallIntervals?: Readonly<Partial<Record<QuestionPosition, Interval>>>;
  /** Cases that recall was measured on. */
  readonly cases?: number;
  /** Milliseconds of a token. */
  readonly msPerToken: number;
  /** Bytes of keys and values. */
  readonly cacheBytes: number;
  /** Bytes of all that the cache keeps. */
  readonly totalBytes?: number;
  /** The policy of an earlier result of the same budget whose results are all the same. */
  readonly sameAs?: string;
  /** Why nothing was measured: the budget is too small for the policy, or the policy failed. */
  readonly refused?: string;
}

/**
 * Measures a dense cache, then every policy under every budget.
 * @throws InputError for options that hold for all of them and can't be meant; the signal's reason. What fails for one
 * policy is in its result (`refused`).
 * @example
 * ```ts
 * import { loadModel } from 'keyhold';
 * import { compare, comparisonMarkdown } from 'keyhold/eval';
 *
 * const model = await loadModel();
 * const text = 'And God said, Let there be light: and there was light. '.repeat(40);
 * const contestants = ['lastrec', 'h2o'].map((policy) => ({ name: policy, policy }));
 * const results = await compare(model, { contestants, budgets: [0.25], text, windowLength: 256, windows: 1 });
 * console.log(comparisonMarkdown(results));
 * await model.dispose();
 * ```
 */
export async function compare(model: LanguageModel, options: CompareOptions): Promise<CompareResult[]> {
  checkModelCall('compare', model, options, ['contestants', 'budgets']);
  checkLists(options);
  const { contestants, budgets, onResult } = options;
  const total = 1 + contestants.length * budgets.length;
  const results: CompareResult[] = [];
  const add = async (contestant: Contestant, budget: number) => {
    const result = withTwin(await measure(model, contestant, budget, options), results);
    results.push(result);
    onResult?.(result, results.length, total);
  };
  await warmUp(model, options);
  await add({ name: 'dense', policy: 'dense' }, 1);
  for (const contestant of contestants) for (const budget of budgets) await add(contestant, budget);
  return results;
}

/** @throws InputError for lists that are none, or that have something else in them. */
function checkLists({ contestants, budgets, cases }: CompareOptions): void {
  const isContestant = (one: unknown) => isObject(one) && typeof one['name'] === 'string';
  checkList('compare', 'contestants as a list of { name, policy }', contestants, isContestant);
  const isPart = (budget: unknown) => typeof budget === 'number' && budget > 0 && budget <= 1;
  checkList('compare', 'budgets as a list of numbers above 0 and up to 1', budgets, isPart);
  if (cases !== undefined) checkCases('compare', cases);
}

/** @throws InputError for what is no list of results. */
export function checkResults(what: string, results: readonly CompareResult[]): void {
  const isResult = (one: unknown) =>
    isObject(one) && typeof one['policy'] === 'string' && typeof one['budget'] === 'number' && isObject(one['recall']);
  checkFilledList(what, 'a list of results, as compare gives it', results, isResult);
}

/** Says which earlier result is the same. */
function withTwin(result: CompareResult, earlier: readonly CompareResult[]): CompareResult {
  const valuesOf = ({ budget, perplexity, divergence, recall, refused }: CompareResult) =>
    refused ?? JSON.stringify([budget, perplexity, divergence, recall]);
  const twin = result.refused === undefined && earlier.find((other) => valuesOf(other) === valuesOf(result));
  return twin ? { ...result, sameAs: twin.policy } : result;
}

/** The first steps of a process are slower than the others; no result of the comparison is to have them. */
async function warmUp(model: LanguageModel, { chunkLength = EVAL_CHUNK, signal }: CompareOptions): Promise<void> {
  const tokens = Array.from({ length: Math.min(4 * chunkLength, model.config.contextLength) }, () => 0);
  await model.prefill(model.createCache({ cacheLength: tokens.length }), tokens, { chunkLength, signal });
}

async function measure(
  model: LanguageModel,
  contestant: Contestant,
  budget: number,
  options: CompareOptions,
): Promise<CompareResult> {
  const { unit, windows, cases } = options;
  const isDense = contestant.policy === 'dense';
  const head = { policy: contestant.name, budget, ...(isDense || !unit ? {} : { unit }) };
  try {
    return { ...head, ...(await measureAll(model, contestant, budget, options)) };
  } catch (error) {
    // A policy that can't do with so little, or fails, is told of; what is wrong for all of them ends the comparison.
    const isOfPolicy =
      (error instanceof InputError && !(error instanceof CacheFullError)) || error instanceof PolicyError;
    if (isDense || !isOfPolicy) throw error;
    return { ...head, windows, recall: {}, cases: cases?.length, msPerToken: 0, cacheBytes: 0, refused: error.message };
  }
}

async function measureAll(
  model: LanguageModel,
  contestant: Contestant,
  budget: number,
  options: CompareOptions,
): Promise<Omit<CompareResult, 'policy' | 'budget'>> {
  const { text, cases, questions = ['after'], chunkLength, signal } = options;
  const cacheFor = (length: number) => cacheOptionsOf(contestant, budget, length, options);
  const costs: Cost[] = [];
  let result: (Partial<DivergenceResult> & Pick<PerplexityResult, 'perplexity' | 'windows'>) | undefined;
  let perplexityInterval: Interval | undefined;
  if (text !== undefined) {
    const { windowLength, windows } = options;
    // A text may be shorter than a window: a budget is a part of what is read.
    const [{ length }] = cutWindows(model, text, options).windows;
    const window = { cache: cacheFor(length), windowLength, windows, chunkLength, signal };
    const plain = await perplexity(model, text, window);
    perplexityInterval = plain.interval ?? undefined;
    costs.push(plain);
    const { divergence: kl, interval } = options.divergence ? await divergence(model, text, window) : {};
    result = { perplexity: plain.perplexity, windows: plain.windows, divergence: kl, interval };
  }
  const recalls: Partial<Record<QuestionPosition, number>> = {};
  const recallIntervals: Partial<Record<QuestionPosition, Interval>> = {};
  if (cases)
    for (const question of questions) {
      const outcomes: number[] = [];
      // A dense cache has to hold the answer, too.
      for (const [length, list] of groupBy(cases, (item) => item.length)) {
        const cache = contestant.policy === 'dense' ? { policy: 'dense' } : cacheFor(length);
        const answers = await measureRecall(model, list, { cache, question, chunkLength, signal });
        for (let i = 0; i < list.length; i++) outcomes.push(Number(i < answers.right));
        costs.push(answers);
      }
      recalls[question] = outcomes.reduce((a, b) => a + b, 0) / cases.length;
      recallIntervals[question] = meanInterval(outcomes) ?? undefined;
    }
  return {
    perplexity: result?.perplexity,
    perplexityInterval,
    divergence: result?.divergence,
    divergenceInterval: result?.interval ?? undefined,
    windows: result?.windows,
    recall: recalls,
    recallIntervals,
    cases: cases?.length,
    msPerToken: costs[0]?.msPerToken ?? 0,
    cacheBytes: Math.max(0, ...costs.map(({ cacheBytes }) => cacheBytes)),
    totalBytes: Math.max(0, ...costs.map(({ totalBytes }) => totalBytes)),
  };
}

/** The cache of a contestant for a sequence of so many tokens. */
function cacheOptionsOf(
  { policy, options }: Contestant,
  budget: number,
  length: number,
  { unit, buffer }: CompareOptions,
): Partial<AnyCacheOptions> {
  const isDense = policy === 'dense';
  const own = { ...(isDense || buffer === undefined ? {} : { buffer }), ...options, policy };
  if (isDense || unit !== 'bytes') return { ...own, cacheLength: Math.max(1, Math.round(length * budget)) };
  return { ...own, cacheLength: length, cacheBytes: `${100 * budget}%` };
}

/** What is to be said of a result besides its numbers; empty: nothing. */
export function resultNote({ sameAs, refused }: CompareResult): string {
  if (refused !== undefined) return refused;
  return sameAs === undefined ? '' : `the same as ${sameAs}`;
}
