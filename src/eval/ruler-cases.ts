/**
 * @file Tasks after RULER (arXiv 2404.06654), written anew: what has to be found, followed or counted in a long
 * context. Cases are made from a seed, so that they are the same on every machine.
 */
import * as v from 'valibot';
import { checkFilledList } from '../util/arguments.ts';
import { InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import { checkOptionsObject } from '../util/option-names.ts';
import { Random } from '../util/random.ts';
import { codeWords, digits, fillerSentence, lives, type Passage, sample, shuffled, words } from './ruler-text.ts';

/** One case of a task of RULER. */
export interface RulerCase {
  /** Name of the task. */
  readonly task: RulerTask;
  /** What is in the cache before the question comes. */
  readonly context: string;
  /** The question about the context. */
  readonly question: string;
  /** The answers that are looked for in what the model writes. */
  readonly answers: readonly string[];
  /** Whether one of the answers is enough. */
  readonly any: boolean;
  /** Tokens that an answer may take. */
  readonly answerTokens: number;
}

/** What a task makes of a size: the lines that matter go between lines that do not. */
interface Draft extends Omit<RulerCase, 'task' | 'context'> {
  readonly intro: string;
  /** Lines that have to be there, in this order, at random depths. */
  readonly needles: readonly string[];
  /** A line that may be there any number of times. */
  readonly filler: () => string;
}

type MakeDraft = (random: Random, size: number, passages: readonly Passage[] | null) => Draft;

const NUMBERS = 'Some numbers are hidden in this text. Remember them: you will be asked for them.';
const needle = (key: string, value: string) => `The secret number of the ${key} is ${value}.`;

/** Needles of `keys` with `values` each; the first `asked` keys are asked for. */
function needles(random: Random, keys: number, values: number, asked: number): Draft {
  const names = words(random, keys);
  const numbers = names.map(() => range(values).map(() => digits(random, 6)));
  const lines = names.flatMap((name, i) => numbers[i].map((value) => needle(name, value)));
  const answers = numbers.slice(0, asked).flat();
  const wanted = names.slice(0, asked).map((name) => `the ${name}`);
  const verb = answers.length === 1 ? 'number of' : 'numbers of';
  return {
    intro: NUMBERS,
    needles: shuffled(random, lines),
    filler: () => fillerSentence(random),
    question: `\n\nThe secret ${verb} ${joined(wanted)} in the text ${answers.length === 1 ? 'is' : 'are'}`,
    answers,
    any: false,
    answerTokens: 12 + 12 * answers.length,
  };
}

const joined = (list: readonly string[]): string =>
  list.length === 1 ? list[0] : `${list.slice(0, -1).join(', ')} and ${list.at(-1)}`;

/** A chain of variables, among chains of other values. */
function variables(random: Random): Draft {
  const HOPS = 4;
  const names = sample(
    random,
    [...'ABCDEFGHJKLMNPQRSTUVWXYZ'].flatMap((a) => range(10).map((n) => `${a}${a}${n}`)),
    2 * (HOPS + 1),
  );
  const values = [digits(random, 5), digits(random, 5)];
  const chains = [names.slice(0, HOPS + 1), names.slice(HOPS + 1)].map((chain, c) =>
    chain.map((name, i) => `VAR ${name} = ${i === 0 ? values[c] : `VAR ${chain[i - 1]}`}`),
  );
  return {
    intro: 'Variables are assigned in this text. Remember which of them have the same value.',
    // The order within a chain is kept, as each line needs the one before.
    needles: merged(random, chains[0], chains[1]),
    filler: () => fillerSentence(random),
    question: `\n\nThe variables with the value ${values[0]} are`,
    answers: names.slice(0, HOPS + 1),
    any: false,
    answerTokens: 48,
  };
}

function merged<T>(random: Random, a: readonly T[], b: readonly T[]): T[] {
  const [left, right] = [[...a], [...b]];
  const out: T[] = [];
  while (left.length + right.length > 0)
    out.push((random.next() * (left.length + right.length) < left.length ? left : right).shift()!);
  return out;
}

/** A list in which some words are common, and all others are rare. @param size about how many words there are. */
function commonWords(random: Random, size: number): Draft {
  const [COMMON, OFTEN, SELDOM] = [5, 8, 2];
  const rare = Math.max(4, Math.floor((size - COMMON * OFTEN) / SELDOM));
  const all = words(random, COMMON + rare);
  const common = all.slice(0, COMMON);
  const list = shuffled(
    random,
    all.flatMap((word, i) => new Array<string>(i < COMMON ? OFTEN : SELDOM).fill(word)),
  );
  return {
    intro: 'Below is a list of words. Some of them are more common than the others. Remember the most common ones.',
    needles: list.map((word, i) => `${i + 1}. ${word}`),
    filler: () => '',
    question: `\n\nThe ${COMMON} most common words in the list are`,
    answers: common,
    any: false,
    answerTokens: 40,
  };
}

/** Coded words that are as frequent as Zipf's law says. */
function frequentWords(random: Random, size: number): Draft {
  const coded = codeWords(random, Math.max(6, Math.ceil(size / 12)));
  const total = coded.reduce((sum, _, i) => sum + 1 / (i + 1) ** 2, 0);
  const text = coded.flatMap((word, i) =>
    new Array<string>(Math.max(1, Math.round(size / total / (i + 1) ** 2))).fill(word),
  );
  return {
    intro: 'Below is a text of coded words. Count how often each of them appears.',
    needles: shuffled(random, text),
    filler: () => '',
    question: '\n\nThe three coded words that appear most often are',
    answers: coded.slice(0, 3),
    any: false,
    answerTokens: 32,
  };
}

/** One passage answers the question; others are about something else. */
function questions(random: Random, size: number, given: readonly Passage[] | null): Draft {
  const passages = given ? shuffled(random, given) : lives(random, Math.max(2, Math.min(300, Math.ceil(size / 10))));
  const asked = passages[0];
  let next = 0;
  return {
    intro: 'Answer a question by these passages.',
    needles: [asked.passage],
    filler: () =>
      passages.length > 1 ? passages[1 + (next++ % (passages.length - 1))].passage : fillerSentence(random),
    question: `\n\nQuestion: ${asked.question}\nAnswer:`,
    answers: asked.answers,
    any: true,
    answerTokens: 24,
  };
}

const TASKS = {
  single: (random: Random) => needles(random, 1, 1, 1),
  'multi-key': (random: Random) => needles(random, 6, 1, 1),
  'multi-value': (random: Random) => needles(random, 2, 3, 1),
  'multi-query': (random: Random) => needles(random, 6, 1, 3),
  variables,
  'common-words': commonWords,
  'frequent-words': frequentWords,
  questions,
} satisfies Record<string, MakeDraft>;

/** The name of a task of RULER. */
export type RulerTask = keyof typeof TASKS;

/** The names of all tasks. */
export const RULER_TASKS = Object.keys(TASKS) as readonly RulerTask[];

/** What cases are made of. */
export interface RulerCaseOptions {
  /** Which tasks. @default all */
  readonly tasks?: readonly RulerTask[];
  /** Tokens of context, question and answer together. */
  readonly length: number;
  /** Cases of each task. @default 10 */
  readonly count?: number;
  /** Of the random choices: the same seed gives the same cases. @default 1 */
  readonly seed?: number;
  /** Passages for `questions`. @default made-up lives */
  readonly passages?: readonly Passage[];
  /** Tells how many tokens a text has. */
  readonly countTokens: (text: string) => number;
}

/** What a passage of a file has. */
export const PassageLine = v.object({
  passage: v.string(),
  question: v.string(),
  answers: v.pipe(v.array(v.string()), v.minLength(1)),
});

/** @throws InputError for lists that are none, or that have something else in them. */
export function checkCaseLists(what: string, { tasks, passages }: Pick<RulerCaseOptions, 'tasks' | 'passages'>): void {
  if (tasks !== undefined)
    checkFilledList(what, 'tasks as a list of their names', tasks, (task) => typeof task === 'string');
  if (passages !== undefined)
    checkFilledList(what, 'passages as parsePassages gives them', passages, (one) => v.is(PassageLine, one));
}

/** Makes cases of tasks of RULER. @throws InputError for a task that there is not, or a length that is too short for one. */
export function rulerCases(options: RulerCaseOptions): RulerCase[] {
  checkOptionsObject('rulerCases', options, ['length', 'countTokens']);
  checkCaseLists('rulerCases', options);
  return makeCases(options);
}

/** As {@link rulerCases}, of lists that are checked. */
export function makeCases(options: RulerCaseOptions): RulerCase[] {
  const { tasks = RULER_TASKS, count = 10, seed = 1 } = options;
  return tasks.flatMap((task) => {
    if (!Object.hasOwn(TASKS, task))
      throw new InputError(`there is no task "${task}"; there are ${RULER_TASKS.join(', ')}`);
    const index = RULER_TASKS.indexOf(task);
    return range(count).map((i) => makeCase(task, seed * 100_000 + index * 1000 + i, options));
  });
}

function makeCase(task: RulerTask, seed: number, { length, countTokens, passages }: RulerCaseOptions): RulerCase {
  const make: MakeDraft = TASKS[task];
  const draftOf = (size: number) => make(new Random(seed), size, passages ?? null);
  const first = draftOf(1);
  const separator = first.filler() === '' && task === 'frequent-words' ? ' ' : '\n';
  const tokens = ({ intro, needles: lines, question }: Draft) =>
    countTokens([intro, ...lines].join(separator) + question);
  const limit = length - first.answerTokens;
  if (tokens(first) > limit)
    throw new InputError(
      `${task} needs more than ${length} tokens: its shortest case takes ${tokens(first) + first.answerTokens}`,
    );
  const isFilled = first.filler() !== '';
  // Lists grow with their size; other tasks are filled up with lines between those that matter.
  const draft = isFilled ? draftOf(length / 4) : draftOf(largest(length, (size) => tokens(draftOf(size)) <= limit));
  const random = new Random(seed + 500_000_000);
  const lines = isFilled ? filled(random, draft, limit - tokens(draft), countTokens) : draft.needles;
  const context = [draft.intro, ...lines].join(separator);
  const { question, answers, any, answerTokens } = draft;
  return { task, context, question, answers, any, answerTokens };
}

/** The largest size up to `most` that fits; 1 fits. */
function largest(most: number, fits: (size: number) => boolean): number {
  let [low, high] = [1, most];
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** Needles at random depths between as many other lines as fit into so many tokens. */
function filled(random: Random, draft: Draft, tokens: number, countTokens: (text: string) => number): string[] {
  const others: string[] = [];
  for (let left = tokens; ; ) {
    const line = draft.filler();
    left -= countTokens(`\n${line}`);
    if (left < 0) break;
    others.push(line);
  }
  const depths = draft.needles.map(() => Math.floor(random.next() * (others.length + 1))).sort((a, b) => a - b);
  const out: string[] = [];
  let next = 0;
  for (let i = 0; i <= others.length; i++) {
    while (next < depths.length && depths[next] === i) out.push(draft.needles[next++]);
    if (i < others.length) out.push(others[i]);
  }
  return out;
}
