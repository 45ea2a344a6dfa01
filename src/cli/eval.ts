/**
 * @file `keyhold eval`: how good a model is through a cache, and how good policies are side by side.
 */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { measuredWords } from '../eval/plot.ts';
import {
  type Contestant,
  compare,
  parseRecallCases,
  perplexity,
  plotComparison,
  type QuestionPosition,
  type RecallCase,
  recall,
} from '../exports/eval.ts';
import type { AnyCacheOptions } from '../exports/policies.ts';
import { InputError, type LanguageModel } from '../index.ts';
import { comparisonTable, perplexityLines, recallLines } from './eval-views.ts';
import { UsageError } from './failure.ts';
import { addExamples } from './help.ts';
import { type CliIo, tell, write } from './io.ts';
import { loadForCommand } from './load.ts';
import {
  addCacheOptions,
  addHubOptions,
  addLoadOptions,
  addModelArgument,
  type CacheFlags,
  cacheOptions,
  findPolicy,
  isSmallModel,
  type LoadFlags,
  SMALL_MODEL,
  wholeFrom,
  withModel,
} from './options.ts';
import { Progress } from './progress.ts';

interface EvalFlags extends LoadFlags {
  readonly chunkLength?: number;
  readonly json?: boolean;
}

interface PerplexityFlags extends EvalFlags, CacheFlags {
  readonly text?: string;
  readonly window?: number;
  readonly windows?: number;
}

interface RecallFlags extends EvalFlags, CacheFlags {
  readonly cases?: string;
  readonly length?: number;
  readonly limit?: number;
  readonly question: QuestionPosition;
}

interface CompareFlags extends EvalFlags {
  readonly policies: readonly string[];
  readonly budgets: readonly number[];
  readonly text?: string | false;
  readonly cases?: string | false;
  readonly window?: number;
  readonly windows: number;
  readonly length?: number;
  readonly limit?: number;
  readonly plot?: string;
}

export function addEval(program: Command, io: CliIo): void {
  const command = program
    .command('eval')
    .summary('measure what a cache costs in quality')
    .description(
      'Measures a model through a cache: how well it predicts a text, and whether it recalls what was said.',
    );
  addPerplexity(command, io);
  addRecall(command, io);
  addCompare(command, io);
  addExamples(command, [
    ['how well the small model predicts a text in a cache of 256', 'keyhold eval perplexity -p h2o -c 256 --windows 4'],
    ['policies side by side', 'keyhold eval compare --policies lastrec,keydiff --plot compare.svg'],
  ]);
  for (const sub of command.commands) sub.showHelpAfterError(`See keyhold eval ${sub.name()} --help.`);
}

function addPerplexity(parent: Command, io: CliIo): void {
  const command = parent
    .command('perplexity')
    .summary('how well the model predicts a text')
    .description('Perplexity of a text that goes through the cache chunk by chunk, the true tokens given.')
    .addOption(textOption())
    .addOption(new Option('--window <n>', 'tokens of each window of the text (default: 1024)').argParser(wholeFrom(2)))
    .addOption(new Option('--windows <n>', 'windows to take (default: all)').argParser(wholeFrom(1)));
  addCommon(command);
  addCacheOptions(command);
  addHubOptions(command);
  addExamples(command, [
    ['the small model with a quarter of its context', 'keyhold eval perplexity -p h2o -c 256 --windows 4'],
  ]);
  command.action(async (model: string | undefined, given: PerplexityFlags) => {
    const flags = withModel(command, model, given);
    const cache = await cacheOptions(flags);
    const text = await readText(flags.text, flags.model);
    await useModel(flags, io, async (loaded, progress) => {
      const result = await perplexity(loaded, text, {
        cache: budgetOf(cache),
        windowLength: flags.window,
        windows: flags.windows,
        chunkLength: flags.chunkLength,
        signal: io.signal,
        onProgress: (done, total) => progress.update({ label: 'Reading', done, total, unit: 'tokens' }),
      });
      progress.end();
      await write(io, flags.json ? `${JSON.stringify(result)}\n` : lines(perplexityLines(result)));
    });
  });
}

function addRecall(parent: Command, io: CliIo): void {
  const command = parent
    .command('recall')
    .summary('whether the model recalls what was said')
    .description(
      'Key recall: lines such as "The key of Rachel is 41777." lie in a context; the model is asked for one of them.',
    )
    .addOption(casesOption())
    .addOption(new Option('--length <n>', 'only cases of this length').argParser(wholeFrom(1)))
    .addOption(new Option('--limit <n>', 'at most so many cases').argParser(wholeFrom(1)))
    .addOption(
      new Option('--question <where>', 'in the last window of the prompt, or after the context is in the cache')
        .choices(['last-window', 'after'])
        .default('after'),
    );
  addCommon(command);
  addCacheOptions(command);
  addHubOptions(command);
  addExamples(command, [
    ['the small model in a cache of 100 tokens', 'keyhold eval recall -p keydiff -c 100 --length 512 --limit 8'],
  ]);
  command.action(async (model: string | undefined, given: RecallFlags) => {
    const flags = withModel(command, model, given);
    const cache = await cacheOptions(flags);
    const cases = await readCases(flags.cases, flags.model, flags);
    await useModel(flags, io, async (loaded, progress) => {
      const result = await recall(loaded, cases, {
        cache: budgetOf(cache),
        question: flags.question,
        chunkLength: flags.chunkLength,
        signal: io.signal,
        onProgress: (done, total) => progress.update({ label: 'Asking', done, total, unit: 'runs' }),
      });
      progress.end();
      await write(io, flags.json ? `${JSON.stringify(result)}\n` : lines(recallLines(result, flags.question)));
    });
  });
}

function addCompare(parent: Command, io: CliIo): void {
  const command = parent
    .command('compare')
    .summary('policies side by side')
    .description(
      'Measures policies under budgets: perplexity, and recall with the question in the last window and after the context, ' +
        'beside a dense cache.',
    )
    .addOption(
      new Option('--policies <names>', 'which ones: names, ada(name), modules, with commas between')
        .argParser((text) => list(text))
        .default(['lastrec', 'h2o', 'snapkv', 'keydiff', 'expected'], 'lastrec,h2o,snapkv,keydiff,expected'),
    )
    .addOption(
      new Option('--budgets <parts>', 'as parts of the context')
        .argParser(readBudgets)
        .default([0.05, 0.1, 0.2, 0.5], '0.05,0.1,0.2,0.5'),
    )
    .addOption(textOption())
    .option('--no-text', 'leave perplexity out')
    .addOption(casesOption())
    .option('--no-cases', 'leave recall out')
    .addOption(new Option('--window <n>', 'tokens of each window of the text (default: 1024)').argParser(wholeFrom(2)))
    .addOption(new Option('--windows <n>', 'windows to take').argParser(wholeFrom(1)).default(4))
    .addOption(new Option('--length <n>', 'only recall cases of this length').argParser(wholeFrom(1)))
    .addOption(new Option('--limit <n>', 'at most so many recall cases').argParser(wholeFrom(1)))
    .option('--plot <file>', 'draw the table as an SVG file');
  addCommon(command);
  addHubOptions(command);
  addExamples(command, [
    [
      'two policies on the small model, with a picture',
      'keyhold eval compare --policies lastrec,keydiff --budgets 0.2 --windows 1 --length 256 --limit 4 --plot compare.svg',
    ],
  ]);
  command.action(async (model: string | undefined, given: CompareFlags) => {
    const flags = withModel(command, model, given);
    if (flags.plot !== undefined) await checkPlot(flags.plot);
    const contestants = await Promise.all(flags.policies.map(contestant));
    const text = flags.text === false ? undefined : await readText(flags.text, flags.model);
    const cases = flags.cases === false ? undefined : await readCases(flags.cases, flags.model, flags);
    if (text === undefined && cases === undefined)
      throw new UsageError('--no-text and --no-cases together leave nothing to measure');
    await useModel(flags, io, async (loaded, progress) => {
      const rows = await compare(loaded, {
        contestants,
        budgets: flags.budgets,
        text,
        cases,
        windowLength: flags.window,
        windows: flags.windows,
        chunkLength: flags.chunkLength,
        signal: io.signal,
        onRow: (_, done, total) => progress.update({ label: 'Comparing', done, total, unit: 'runs' }),
      });
      progress.end();
      await write(io, flags.json ? `${JSON.stringify(rows)}\n` : lines(comparisonTable(rows)));
      if (!flags.json) tell(io, `measured on ${measuredWords(rows)}`);
      if (flags.plot === undefined) return;
      await writeFile(flags.plot, plotComparison(rows)).catch((cause: Error) => {
        throw new InputError(`${flags.plot}: the plot can't be written: ${cause.message}`, { cause });
      });
      tell(io, `wrote ${flags.plot}`);
    });
  });
}

/** A policy of one's own is called as it calls itself. */
async function contestant(name: string): Promise<Contestant> {
  const policy = await findPolicy(name);
  return { name: typeof policy === 'string' ? name : policy.name, policy };
}

/** @throws UsageError where the plot could not be written at the end. */
async function checkPlot(file: string): Promise<void> {
  if (!/\.svg$/i.test(file)) throw new UsageError(`--plot ${file}: plots are SVG files; name one that ends in .svg`);
  const folder = dirname(resolve(file));
  const isFolder = await stat(folder).then(
    (stats) => stats.isDirectory(),
    () => false,
  );
  if (!isFolder) throw new UsageError(`--plot ${file}: there is no folder ${folder}`);
}

function addCommon(command: Command): void {
  command
    .addOption(
      new Option(
        '--chunk-length <n>',
        'tokens that are read at once; a policy decides after each chunk (default: 64)',
      ).argParser(wholeFrom(1)),
    )
    .option('--json', 'print JSON');
  addModelArgument(command);
  addLoadOptions(command);
}

const textOption = () => new Option('--text <file>', 'the text (default, for the small model: one that comes with it)');
const casesOption = () =>
  new Option('--cases <file>', 'cases, one JSON object a line (default: those that come with the small model)');

/** Without a budget of its own, a cache holds what it is given. */
function budgetOf(cache: Partial<AnyCacheOptions>): Partial<AnyCacheOptions> {
  return cache.policy === 'dense' && cache.cacheLength === undefined && cache.buffer === undefined ? {} : cache;
}

async function useModel(
  flags: EvalFlags,
  io: CliIo,
  use: (model: LanguageModel, progress: Progress) => Promise<void>,
): Promise<void> {
  const progress = new Progress(io);
  const model = await loadForCommand(flags, io, progress);
  try {
    await use(model, progress);
  } finally {
    progress.end();
    await model.dispose();
  }
}

async function readText(path: string | undefined, model: string): Promise<string> {
  if (path === undefined && !isSmallModel(model)) throw new UsageError('name the text to measure with: --text FILE');
  return readInput(path ?? join(SMALL_MODEL, 'validation.txt'));
}

async function readCases(
  path: string | undefined,
  model: string,
  flags: { length?: number; limit?: number },
): Promise<RecallCase[]> {
  if (path === undefined && !isSmallModel(model))
    throw new UsageError('name the recall cases to measure with: --cases FILE (docs/policies.md says what is in it)');
  const all = parseRecallCases(await readInput(path ?? join(SMALL_MODEL, 'recall.jsonl')));
  const chosen = all
    .filter(({ length }) => flags.length === undefined || length === flags.length)
    .slice(0, flags.limit);
  if (chosen.length === 0)
    throw new UsageError(
      `there are no cases of length ${flags.length}; there are ${[...new Set(all.map((c) => c.length))].join(', ')}`,
    );
  return chosen;
}

async function readInput(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (cause) {
    throw new InputError(`${path}: can't be read: ${(cause as Error).message}`, { cause });
  }
}

/** Splits at commas, but for those within parentheses. */
function list(text: string): string[] {
  const names = text.split(/,(?![^(]*\))/).map((name) => name.trim());
  if (names.includes('')) throw new InvalidArgumentError('A name is empty.');
  return names;
}

function readBudgets(text: string): number[] {
  const budgets = text.split(',').map(Number);
  if (budgets.some((part) => !(part > 0 && part <= 1)))
    throw new InvalidArgumentError('Budgets are parts of the context, above 0 and at most 1.');
  return budgets;
}

const lines = (all: readonly string[]): string => `${all.join('\n')}\n`;
