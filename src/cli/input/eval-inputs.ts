/**
 * @file What evaluations read and write: texts, cases, lists in flags, and files of results.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { InvalidArgumentError } from 'commander';
import { whyUnread } from '../../checkpoint/file-source-node.ts';
import {
  type Contestant,
  type Passage,
  parsePassages,
  parseRecallCases,
  plotPng,
  type QuestionPosition,
  type RecallCase,
} from '../../exports/eval-node.ts';
import { type AnyPolicy, checkCacheOptions } from '../../exports/policies.ts';
import { InputError } from '../../index.ts';
import { splitNames } from '../../kvcache/policy/policy-names.ts';
import { UsageError } from '../failure.ts';
import { type CliIo, tell } from '../io.ts';
import { asUsage, findPolicy, isSmallModel, readCacheOption, SMALL_MODEL } from './options.ts';
import { checkTarget } from './targets.ts';
import { readTextFile } from './text-file.ts';

/**
 * A policy, and options of its own behind colons: `h2o:recent=16:sinks=2`. A policy of one's own is called as it calls
 * itself.
 * @throws UsageError for options that are none, or that the policy does not take.
 */
export async function contestant(text: string): Promise<Contestant> {
  const [, name, given] = /^(.*?)((?::[a-zA-Z]\w*=[^:]*)*)$/.exec(text)!;
  const policy = await findPolicy(name);
  const options = asUsage(() => {
    const read = given.split(':').slice(1).reduce(readOption, {});
    checkCacheOptions({ policy, ...read });
    return read;
  }, `--policies ${text}: `);
  return { name: `${calledBy(policy, name)}${given}`, policy, options };
}

function calledBy(policy: AnyPolicy, name: string): string {
  if (typeof policy === 'string') return name;
  if (!('entry' in policy)) return policy.name;
  return policy.options['ada'] ? `ada(${policy.entry.name})` : policy.entry.name;
}

function readOption(before: Readonly<Record<string, unknown>>, text: string): Record<string, unknown> {
  try {
    return readCacheOption(text, before);
  } catch (cause) {
    throw new InputError((cause as Error).message, { cause });
  }
}

const isPng = (file: string): boolean => /\.png$/i.test(file);

/** @throws UsageError where the plot could not be written at the end. InputError where a package is missing for it. */
export async function checkPlot(file: string): Promise<void> {
  if (!isPng(file) && !/\.svg$/i.test(file))
    throw new UsageError(`--plot ${file}: plots are SVG or PNG files; name one that ends in .svg or .png`);
  await checkTarget('--plot', file);
  if (isPng(file)) await plotPng(EMPTY);
}

const EMPTY = '<svg xmlns="http://www.w3.org/2000/svg" width="1" height="1"/>';

/** Writes an SVG document, as a PNG file where its name says so. */
export async function writePlot(file: string, svg: string, io: CliIo): Promise<void> {
  await writeResult(file, isPng(file) ? await plotPng(svg) : svg, io);
}

export async function writeResult(file: string, content: string | Uint8Array, io: CliIo): Promise<void> {
  await writeFile(file, content).catch((cause: Error) => {
    throw new InputError(`${file}: can't be written: ${cause.message}`, { cause });
  });
  tell(io, `wrote ${file}`);
}

export async function readText(path: string | undefined, model: string): Promise<string> {
  if (path === undefined && !isSmallModel(model)) throw new UsageError('name the text to measure with: --text FILE');
  return readInput(path ?? join(SMALL_MODEL, 'validation.txt'));
}

export async function readCases(
  path: string | undefined,
  model: string,
  flags: { length?: number; limit?: number },
): Promise<RecallCase[]> {
  if (path === undefined && !isSmallModel(model))
    throw new UsageError('name the recall cases to measure with: --cases FILE (docs/policies.md says what is in it)');
  const all = await readLines(path ?? join(SMALL_MODEL, 'recall.jsonl'), parseRecallCases);
  const chosen = all
    .filter(({ length }) => flags.length === undefined || length === flags.length)
    .slice(0, flags.limit);
  if (chosen.length === 0)
    throw new UsageError(
      `there are no cases of length ${flags.length}; there are ${[...new Set(all.map((c) => c.length))].join(', ')}`,
    );
  return chosen;
}

export const readPassages = (path: string): Promise<Passage[]> => readLines(path, parsePassages);

/** @throws InputError that names the file, also for one without lines. */
async function readLines<T>(path: string, parse: (text: string) => T[]): Promise<T[]> {
  const text = await readInput(path);
  let all: T[];
  try {
    all = parse(text);
  } catch (cause) {
    throw new InputError(`${path}: ${(cause as Error).message}`, { cause });
  }
  if (all.length === 0) throw new InputError(`${path}: there is nothing in it`);
  return all;
}

export async function readInput(path: string): Promise<string> {
  try {
    return await readTextFile(path);
  } catch (cause) {
    throw new InputError(`${path} ${whyUnread(cause)}`, { cause });
  }
}

/** Splits at commas, but for those within parentheses. */
export function list(text: string): string[] {
  const names = splitNames(text);
  if (names.includes('')) throw new InvalidArgumentError('A name is empty.');
  return names;
}

export function readBudgets(text: string): number[] {
  const budgets = text.split(',').map(Number);
  if (budgets.some((part) => !(part > 0 && part <= 1)))
    throw new InvalidArgumentError('Budgets are parts of the context, above 0 and at most 1.');
  return budgets;
}

export function readByteParts(text: string): number[] {
  const parts = text.split(',').map((part) => /^(\d+(?:\.\d+)?)%$/.exec(part.trim())?.[1]);
  const budgets = parts.map((part) => Number(part) / 100);
  if (budgets.some((part) => !(part > 0 && part <= 10)))
    throw new InvalidArgumentError('They must be parts such as 5%,10%,20%.');
  return budgets;
}

export function readQuestions(text: string): QuestionPosition[] {
  const questions = text.split(',');
  if (questions.some((where) => where !== 'after' && where !== 'last-window'))
    throw new InvalidArgumentError('It must be after, last-window, or both with a comma between.');
  return questions as QuestionPosition[];
}
