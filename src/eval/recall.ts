/**
 * @file Key recall: whether a model still knows what a line in its context said.
 */
import * as v from 'valibot';
import type { LanguageModel } from '../engine/language-model.ts';
import { checkModelCall } from '../engine/text-model.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { checkList, checkText } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { argmax } from '../util/numbers.ts';
import { type Interval, meanInterval } from './bootstrap.ts';
import { type Cost, CostMeter } from './cost.ts';
import { groupBy } from './group-by.ts';
import { parseLines } from './json-lines.ts';
import { EVAL_CHUNK, meteredSteps } from './steps.ts';

/** A context in which one line has to be remembered, and a question about it. */
export interface RecallCase {
  /** Text with the lines to be remembered. */
  readonly context: string;
  /** The question about one of the lines. */
  readonly question: string;
  /** The answer, with its leading space. */
  readonly answer: string;
  /** Tokens of the whole. */
  readonly length: number;
  /** Where in the context the line stands; 0: at the start, 1: at the end. */
  readonly depth: number;
  /** What is asked for, such as `number` or `quote`: results are told apart by it. */
  readonly kind?: string;
}

const Case = v.object({
  context: v.string(),
  question: v.string(),
  answer: v.string(),
  length: v.number(),
  depth: v.number(),
  kind: v.optional(v.string()),
});

/** `last-window`: the question is at the end of the prompt; `after`: it comes when the context is in the cache. */
export type QuestionPosition = 'last-window' | 'after';

/** How cases of recall are read. */
export interface RecallOptions {
  /** Options of the cache; each case gets a new one. @default a dense one */
  readonly cache?: Partial<AnyCacheOptions>;
  /** Where the question is. @default 'after' */
  readonly question?: QuestionPosition;
  /**
   * Tokens of a chunk.
   * @default 64
   */
  readonly chunkLength?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told after each case, also how many were right so far. */
  readonly onProgress?: (done: number, total: number, right: number) => void;
}

/** How many cases were answered correctly. */
export interface RecallResult extends Cost {
  /** Cases that were answered correctly, as a part of all: 0 to 1. */
  readonly recall: number;
  /** The 95 % interval of the recall; null: there are fewer than 5 cases. */
  readonly interval: Interval | null;
  /** Number of cases that were answered correctly. */
  readonly right: number;
  /** Number of cases. */
  readonly cases: number;
  /** The recall of the cases of each length. */
  readonly byLength: Readonly<Record<string, number>>;
  /** The recall by where the line stands, in quarters of the context. */
  readonly byDepth: Readonly<Record<string, number>>;
  /** The recall of each kind that cases name; empty where none does. */
  readonly byKind: Readonly<Record<string, number>>;
}

/** Cases from lines of JSON. @throws InputError for lines that are none, and for what is no text. */
export function parseRecallCases(jsonl: string): RecallCase[] {
  checkText('parseRecallCases', 'lines of JSON as a string', jsonl);
  return parseLines(jsonl, Case, 'recall case (context, question, answer, length, depth; kind, if there are several)');
}

/** @throws InputError for what is no list of cases. */
export function checkCases(what: string, cases: readonly RecallCase[]): void {
  checkList(what, 'a list of recall cases, as parseRecallCases gives it', cases, (item) => v.is(Case, item));
  if (cases.length === 0) throw new InputError('there are no recall cases');
}

/**
 * Measures recall. A case is right if every token of the answer is the most likely one, the true tokens before it given.
 * @throws InputError where there are no cases, and for what is none.
 */
export async function recall(
  model: LanguageModel,
  cases: readonly RecallCase[],
  options: RecallOptions = {},
): Promise<RecallResult> {
  checkModelCall('recall', model, options);
  checkCases('recall', cases);
  return measureRecall(model, cases, options);
}

/** As {@link recall}, of cases that are checked. */
export async function measureRecall(
  model: LanguageModel,
  cases: readonly RecallCase[],
  options: RecallOptions,
): Promise<RecallResult> {
  await model.calibrateFor(options.cache, { signal: options.signal });
  const meter = new CostMeter();
  const outcomes: { item: RecallCase; right: boolean }[] = [];
  for (const item of cases) {
    options.signal?.throwIfAborted();
    outcomes.push({ item, right: await isRecalled(model, item, options, meter) });
    options.onProgress?.(outcomes.length, cases.length, outcomes.filter(({ right }) => right).length);
  }
  const part = (list: typeof outcomes) => list.filter(({ right }) => right).length / list.length;
  const by = (key: (item: RecallCase) => string, list = outcomes) => {
    const groups = groupBy(list, ({ item }) => key(item));
    return Object.fromEntries([...groups].sort().map(([name, list]) => [name, part(list)]));
  };
  return {
    recall: part(outcomes),
    interval: meanInterval(outcomes.map(({ right }) => Number(right))),
    right: outcomes.filter(({ right }) => right).length,
    cases: cases.length,
    byLength: by(({ length }) => String(length).padStart(6)),
    byDepth: by(({ depth }) => `${Math.min(3, Math.floor(depth * 4)) * 25} %`.padStart(4)),
    byKind: by(
      ({ kind }) => kind!,
      outcomes.filter(({ item }) => item.kind !== undefined),
    ),
    ...meter.cost(),
  };
}

async function isRecalled(
  model: LanguageModel,
  item: RecallCase,
  options: RecallOptions,
  meter: CostMeter,
): Promise<boolean> {
  const { tokenizer } = model;
  const { signal } = options;
  const context = tokenizer.encode(item.context);
  const question = tokenizer.encode(item.question, { addSpecialTokens: false });
  const answer = tokenizer.encode(item.answer, { addSpecialTokens: false });
  const length = context.length + question.length + answer.length;
  const cache = model.createCache({ policy: 'dense', cacheLength: length, ...options.cache });
  const chunkLength = options.chunkLength ?? EVAL_CHUNK;
  const prompt = (options.question ?? 'after') === 'after' ? context : [...context, ...question];
  const feed = async (tokens: readonly number[], phase: 'prompt' | 'decode'): Promise<number> => {
    let last: Float32Array = new Float32Array(0);
    for await (const { logits } of meteredSteps(model, cache, tokens, { chunkLength, phase, signal }, meter))
      last = logits;
    return argmax(last);
  };
  await model.prepare(cache);
  let best = await feed(prompt, 'prompt');
  if (prompt === context) best = await feed(question, 'decode');
  meter.hold(cache);
  for (const [i, token] of answer.entries()) {
    if (best !== token) return false;
    if (i + 1 < answer.length) best = await feed([token], 'decode');
  }
  return true;
}
