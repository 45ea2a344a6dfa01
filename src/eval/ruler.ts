/**
 * @file `eval ruler`: tasks on long contexts, with the question after the context is in the cache.
 */
import type { LanguageModel } from '../engine/language-model.ts';
import { checkModelCall } from '../engine/text-model.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { checkText } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { argmax, wholeNumber } from '../util/numbers.ts';
import { type Interval, meanInterval } from './bootstrap.ts';
import { type Cost, CostMeter } from './cost.ts';
import { groupBy } from './group-by.ts';
import { parseLines } from './json-lines.ts';
import { checkCaseLists, makeCases, PassageLine, type RulerCase, type RulerTask } from './ruler-cases.ts';
import type { Passage } from './ruler-text.ts';
import { EVAL_CHUNK, meteredSteps } from './steps.ts';

/** Which tasks of RULER are run, and how. */
export interface RulerOptions {
  /** Options of the cache; each case gets a new one. @default a dense one */
  readonly cache?: Partial<AnyCacheOptions>;
  /** Which tasks. @default all tasks */
  readonly tasks?: readonly RulerTask[];
  /** Tokens of context, question and answer together: no more than the model's context. @default 1024 */
  readonly length?: number;
  /** Cases of each task. @default 10 */
  readonly count?: number;
  /** Of the random choices of cases: the same seed gives the same cases. @default 1 */
  readonly seed?: number;
  /** Passages for the task `questions`. @default made-up lives */
  readonly passages?: readonly Passage[];
  /** Tokens of a chunk. @default 64 */
  readonly chunkLength?: number;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told after each case. */
  readonly onProgress?: (done: number, total: number) => void;
}

/** How many of the answers were found, as a part of all. */
export interface RulerScore {
  /** Mean over the cases: 0 to 1. */
  readonly score: number;
  /** The 95 % interval of the score; null: there are fewer than 5 cases. */
  readonly interval: Interval | null;
  /** Number of cases. */
  readonly cases: number;
}

/** Scores of the tasks of RULER. */
export interface RulerResult extends Cost, RulerScore {
  /** Tokens of context, question and answer together. */
  readonly length: number;
  /** The scores of the tasks that were run. */
  readonly tasks: Readonly<Partial<Record<RulerTask, RulerScore>>>;
}

/** Passages from lines of JSON. @throws InputError for lines that are none, and for what is no text. */
export function parsePassages(jsonl: string): Passage[] {
  checkText('parsePassages', 'lines of JSON as a string', jsonl);
  return parseLines(jsonl, PassageLine, 'passage (passage, question, answers)');
}

/**
 * Runs tasks of RULER. The context goes through the cache chunk by chunk, then comes the question, and the model goes on with the likeliest
 * tokens. The score of a case is the part of its answers that are in what it wrote; for `questions` one of them is
 * enough.
 * @throws InputError for a task that there is not, or a length that is too short for it or longer than the model's
 * context.
 */
export async function ruler(model: LanguageModel, options: RulerOptions = {}): Promise<RulerResult> {
  checkModelCall('ruler', model, options);
  checkCaseLists('ruler', options);
  const { tasks, count, seed, passages, onProgress, signal } = options;
  const length = wholeNumber('length', options.length ?? 1024);
  const { contextLength } = model.config;
  if (length > contextLength)
    throw new InputError(
      `cases of ${length} tokens are longer than the context of the model, which is ${contextLength}`,
    );
  const countTokens = (text: string) => model.tokenizer.encode(text).length;
  const cases = makeCases({ tasks, length, count, seed, passages, countTokens });
  const meter = new CostMeter();
  const outcomes: { task: RulerTask; score: number }[] = [];
  await model.calibrateFor(options.cache, { signal });
  for (const item of cases) {
    signal?.throwIfAborted();
    const text = await answerOf(model, item, length, options, meter);
    outcomes.push({ task: item.task, score: scoreOf(item, text) });
    onProgress?.(outcomes.length, cases.length);
  }
  const summary = (list: readonly { score: number }[]): RulerScore => {
    const scores = list.map(({ score }) => score);
    const sum = scores.reduce((a, b) => a + b, 0);
    return { score: sum / scores.length, interval: meanInterval(scores), cases: scores.length };
  };
  const byTask = [...groupBy(outcomes, ({ task }) => task)].map(([task, list]) => [task, summary(list)]);
  return { length, tasks: Object.fromEntries(byTask), ...summary(outcomes), ...meter.cost() };
}

/** The part of a case's answers that a text has, as words of their own; case does not matter. */
export function scoreOf({ answers, any }: Pick<RulerCase, 'answers' | 'any'>, text: string): number {
  const words = ` ${normal(text)} `;
  const found = answers.filter((answer) => words.includes(` ${normal(answer)} `)).length;
  return any ? Math.min(1, found) : found / answers.length;
}

const normal = (text: string): string =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, ' ')
    .trim();

async function answerOf(
  model: LanguageModel,
  { context, question, answerTokens }: RulerCase,
  length: number,
  { cache: options, chunkLength = EVAL_CHUNK, signal }: RulerOptions,
  meter: CostMeter,
): Promise<string> {
  const { tokenizer } = model;
  // Filler and question are counted apart, so that their tokens may be a few more together.
  const cache = model.createCache({ policy: 'dense', cacheLength: length + 16, ...options });
  const feed = async (tokens: readonly number[], phase: 'prompt' | 'decode'): Promise<number> => {
    let last = new Float32Array(0);
    for await (const { logits } of meteredSteps(model, cache, tokens, { chunkLength, phase, signal }, meter))
      last = Float32Array.from(logits);
    return argmax(last);
  };
  await model.prepare(cache);
  await feed(tokenizer.encode(context), 'prompt');
  let token = await feed(tokenizer.encode(question, { addSpecialTokens: false }), 'decode');
  const answer: number[] = [];
  while (answer.length < answerTokens && !model.eosTokenIds.includes(token)) {
    answer.push(token);
    if (answer.length < answerTokens) token = await feed([token], 'decode');
  }
  meter.hold(cache);
  return tokenizer.decode(answer);
}
