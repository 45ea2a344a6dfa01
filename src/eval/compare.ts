/**
 * @file Policies side by side: what each of them is worth under each budget, and what it costs.
 */
import type { LanguageModel } from '../engine/language-model.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { PolicyRow } from '../kvcache/policy.ts';
import { groupBy } from './group-by.ts';
import { type PerplexityResult, perplexity, WINDOW_LENGTH } from './perplexity.ts';
import { type QuestionPosition, type RecallCase, recall } from './recall.ts';
import { EVAL_CHUNK } from './steps.ts';

/** A policy to compare: its name, and options besides the budget. */
export interface Contestant {
  readonly name: string;
  readonly policy: string | PolicyRow;
  readonly options?: Partial<AnyCacheOptions>;
}

export interface CompareOptions {
  readonly contestants: readonly Contestant[];
  /** Budgets as parts of the context, above 0 and up to 1. */
  readonly budgets: readonly number[];
  /** Text for perplexity; left out, it is not measured. */
  readonly text?: string;
  readonly windowLength?: number;
  readonly windows?: number;
  /** Cases for recall, left out: not measured; a budget is a part of each case's own length. */
  readonly cases?: readonly RecallCase[];
  readonly questions?: readonly QuestionPosition[];
  readonly chunkLength?: number;
  readonly signal?: AbortSignal;
  readonly onRow?: (row: CompareRow, done: number, total: number) => void;
}

/** One policy under one budget. */
export interface CompareRow {
  readonly policy: string;
  /** Part of the context; 1 for the dense cache that all are measured against. */
  readonly budget: number;
  readonly perplexity?: number;
  /** Windows of text that perplexity was measured on. */
  readonly windows?: number;
  /** By where the question stands. */
  readonly recall: Readonly<Partial<Record<QuestionPosition, number>>>;
  /** Cases that recall was measured on. */
  readonly cases?: number;
  readonly msPerToken: number;
  readonly cacheBytes: number;
}

/** Measures a dense cache, then every policy under every budget. */
export async function compare(model: LanguageModel, options: CompareOptions): Promise<CompareRow[]> {
  const { contestants, budgets, onRow } = options;
  const total = 1 + contestants.length * budgets.length;
  const rows: CompareRow[] = [];
  const add = async (contestant: Contestant, budget: number) => {
    const row = await measure(model, contestant, budget, options);
    rows.push(row);
    onRow?.(row, rows.length, total);
  };
  await warmUp(model, options);
  await add({ name: 'dense', policy: 'dense' }, 1);
  for (const contestant of contestants) for (const budget of budgets) await add(contestant, budget);
  return rows;
}

/** The first steps of a process are slower than the others; no row of the comparison is to have them. */
async function warmUp(model: LanguageModel, { chunkLength = EVAL_CHUNK, signal }: CompareOptions): Promise<void> {
  const tokens = Array.from({ length: Math.min(4 * chunkLength, model.config.contextLength) }, () => 0);
  await model.prefill(model.createCache({ cacheLength: tokens.length }), tokens, { chunkLength, signal });
}

async function measure(
  model: LanguageModel,
  contestant: Contestant,
  budget: number,
  options: CompareOptions,
): Promise<CompareRow> {
  const { text, cases, questions = ['last-window', 'after'], chunkLength, signal } = options;
  const windowLength = options.windowLength ?? Math.min(WINDOW_LENGTH, model.config.contextLength);
  const cacheFor = (length: number): Partial<AnyCacheOptions> => ({
    ...contestant.options,
    policy: contestant.policy,
    cacheLength: Math.max(1, Math.round(length * budget)),
  });
  const costs: { msPerToken: number; cacheBytes: number }[] = [];
  let result: PerplexityResult | undefined;
  if (text !== undefined) {
    result = await perplexity(model, text, {
      cache: cacheFor(windowLength),
      windowLength,
      windows: options.windows,
      chunkLength,
      signal,
    });
    costs.push(result);
  }
  const recalls: Partial<Record<QuestionPosition, number>> = {};
  if (cases)
    for (const question of questions) {
      let right = 0;
      // A dense cache has to hold the answer, too.
      for (const [length, list] of groupBy(cases, (item) => item.length)) {
        const cache = contestant.policy === 'dense' ? { policy: 'dense' } : cacheFor(length);
        const answers = await recall(model, list, { cache, question, chunkLength, signal });
        right += answers.right;
        costs.push(answers);
      }
      recalls[question] = right / cases.length;
    }
  return {
    policy: contestant.name,
    budget,
    perplexity: result?.perplexity,
    windows: result?.windows,
    recall: recalls,
    cases: cases?.length,
    msPerToken: costs[0]?.msPerToken ?? 0,
    cacheBytes: Math.max(0, ...costs.map(({ cacheBytes }) => cacheBytes)),
  };
}
