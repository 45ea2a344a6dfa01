/**
 * @file `keyhold eval`: how good a model is through a cache, and how good policies are side by side.
 */
import { type Command, Option } from 'commander';
import { measuredWords } from '../eval/plot.ts';
import {
  compare,
  comparisonMarkdown,
  divergence,
  type PerplexityOptions,
  perplexity,
  plotComparison,
  type QuestionPosition,
  recall,
} from '../exports/eval.ts';
import type { BufferChoice } from '../exports/policies.ts';
import type { LanguageModel } from '../index.ts';
import { addCommon, budgetOf, type EvalFlags, lines, useModel } from './eval-common.ts';
import {
  checkFolder,
  checkPlot,
  contestant,
  list,
  readBudgets,
  readByteParts,
  readCases,
  readQuestions,
  readText,
  writePlot,
  writeResult,
} from './eval-inputs.ts';
import { addRuler } from './eval-ruler.ts';
import { comparisonTable, divergenceLines, perplexityLines, recallLines } from './eval-views.ts';
import { UsageError } from './failure.ts';
import { addExamples } from './help.ts';
import { type CliIo, tell, write } from './io.ts';
import { calibrateForCommand } from './load.ts';
import {
  addCacheOptions,
  addHubOptions,
  bufferOption,
  type CacheFlags,
  cacheOptions,
  wholeFrom,
  withModel,
} from './options.ts';

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
  readonly bytes?: readonly number[];
  readonly cacheBuffer?: BufferChoice;
  readonly divergence?: boolean;
  readonly questions: readonly QuestionPosition[];
  readonly markdown?: string;
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
  addDivergence(command, io);
  addRecall(command, io);
  addRuler(command, io);
  addCompare(command, io);
  addExamples(command, [
    ['how well the small model predicts a text in a cache of 256', 'keyhold eval perplexity -p h2o -c 256 --windows 4'],
    ['policies side by side', 'keyhold eval compare --policies lastrec,keydiff --plot compare.svg'],
  ]);
  for (const sub of command.commands) sub.showHelpAfterError(`See keyhold eval ${sub.name()} --help.`);
}

/** What is measured on windows of a text. */
interface TextMeasure<R> {
  readonly name: string;
  readonly summary: string;
  readonly description: string;
  readonly example: readonly [what: string, command: string];
  readonly measure: (model: LanguageModel, text: string, options: PerplexityOptions) => Promise<R>;
  readonly view: (result: R) => readonly string[];
}

function addPerplexity(parent: Command, io: CliIo): void {
  addTextMeasure(parent, io, {
    name: 'perplexity',
    summary: 'how well the model predicts a text',
    description: 'Perplexity of a text that goes through the cache chunk by chunk, the true tokens given.',
    example: ['the small model with a quarter of its context', 'keyhold eval perplexity -p h2o -c 256 --windows 4'],
    measure: perplexity,
    view: perplexityLines,
  });
}

function addDivergence(parent: Command, io: CliIo): void {
  addTextMeasure(parent, io, {
    name: 'divergence',
    summary: "how far the next token's probabilities are from those with a dense cache",
    description:
      'Mean Kullback-Leibler divergence from a dense float32 cache at every position of a text. It tells small differences that ' +
      'neither perplexity nor recall shows.',
    example: ['a tenth of the bytes of a dense cache', 'keyhold eval divergence -p h2o --cache-bytes 10% --windows 1'],
    measure: divergence,
    view: divergenceLines,
  });
}

function addTextMeasure<R>(parent: Command, io: CliIo, about: TextMeasure<R>): void {
  const command = parent
    .command(about.name)
    .summary(about.summary)
    .description(about.description)
    .addOption(textOption())
    .addOption(new Option('--window <n>', 'tokens of each window of the text (default: 1024)').argParser(wholeFrom(2)))
    .addOption(new Option('--windows <n>', 'windows to take (default: all)').argParser(wholeFrom(1)));
  addCommon(command);
  addCacheOptions(command);
  addHubOptions(command);
  addExamples(command, [about.example]);
  command.action(async (model: string | undefined, given: PerplexityFlags) => {
    const flags = withModel(command, model, given);
    const cache = await cacheOptions(flags);
    const text = await readText(flags.text, flags.model);
    await useModel(flags, io, async (loaded, progress) => {
      await calibrateForCommand(loaded, cache, io, progress);
      const result = await about.measure(loaded, text, {
        cache: budgetOf(cache),
        windowLength: flags.window,
        windows: flags.windows,
        chunkLength: flags.chunkLength,
        signal: io.signal,
        onProgress: (done, total) => progress.update({ label: 'Reading', done, total, unit: 'tokens' }),
      });
      progress.end();
      await write(io, flags.json ? `${JSON.stringify(result)}\n` : lines(about.view(result)));
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
      await calibrateForCommand(loaded, cache, io, progress);
      const result = await recall(loaded, cases, {
        cache: budgetOf(cache),
        question: flags.question,
        chunkLength: flags.chunkLength,
        signal: io.signal,
        onProgress: (done, total, right) =>
          progress.update({ label: 'Asking', done, total, unit: 'runs', note: `${right} right` }),
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
      'Measures policies under budgets: perplexity, and recall with a question that comes after the context is in the cache, ' +
        'beside a dense cache. Intervals are of 95 % (bootstrap).',
    )
    .addOption(
      new Option(
        '--policies <names>',
        'which ones: names, ada(name), modules, with commas between; options follow a colon: h2o:recent=16',
      )
        .argParser((text) => list(text))
        .default(['lastrec', 'h2o', 'snapkv', 'keydiff', 'expected'], 'lastrec,h2o,snapkv,keydiff,expected'),
    )
    .addOption(
      new Option('--budgets <parts>', 'as parts of the context')
        .argParser(readBudgets)
        .default([0.05, 0.1, 0.2, 0.5], '0.05,0.1,0.2,0.5'),
    )
    .addOption(
      new Option(
        '--bytes <parts>',
        'budgets as parts of the bytes of a dense float16 cache, all that the cache keeps included, such as 5%,10%,20%',
      )
        .argParser(readByteParts)
        .conflicts('budgets'),
    )
    .addOption(bufferOption())
    .option('--divergence', 'measure on the text how far the probabilities are from those with the dense cache, too')
    .addOption(
      new Option('--questions <where>', 'after (the context), last-window (of the prompt), or both with a comma')
        .argParser(readQuestions)
        .default(['after'], 'after'),
    )
    .addOption(textOption())
    .option('--no-text', 'leave perplexity out')
    .addOption(casesOption())
    .option('--no-cases', 'leave recall out')
    .addOption(new Option('--window <n>', 'tokens of each window of the text (default: 1024)').argParser(wholeFrom(2)))
    .addOption(new Option('--windows <n>', 'windows to take').argParser(wholeFrom(1)).default(4))
    .addOption(new Option('--length <n>', 'only recall cases of this length').argParser(wholeFrom(1)))
    .addOption(new Option('--limit <n>', 'at most so many recall cases').argParser(wholeFrom(1)))
    .option('--plot <file>', 'draw the table, as an SVG or PNG file')
    .option('--markdown <file>', 'write the table as a Markdown file');
  addCommon(command);
  addHubOptions(command);
  addExamples(command, [
    [
      'two policies on the small model, with a picture',
      'keyhold eval compare --policies lastrec,keydiff --budgets 0.2 --windows 1 --length 256 --limit 4 --plot compare.svg',
    ],
    [
      'at equal bytes',
      'keyhold eval compare --policies lastrec,h2o --bytes 10%,20% --windows 1 --no-cases --divergence',
    ],
  ]);
  command.action(async (model: string | undefined, given: CompareFlags) => {
    const flags = withModel(command, model, given);
    if (flags.plot !== undefined) await checkPlot(flags.plot);
    if (flags.markdown !== undefined) await checkFolder('--markdown', flags.markdown);
    const contestants = await Promise.all(flags.policies.map(contestant));
    const text = flags.text === false ? undefined : await readText(flags.text, flags.model);
    const cases = flags.cases === false ? undefined : await readCases(flags.cases, flags.model, flags);
    if (text === undefined && cases === undefined)
      throw new UsageError('--no-text and --no-cases together leave nothing to measure');
    await useModel(flags, io, async (loaded, progress) => {
      for (const { policy } of contestants) await calibrateForCommand(loaded, { policy }, io, progress);
      const rows = await compare(loaded, {
        contestants,
        budgets: flags.bytes ?? flags.budgets,
        unit: flags.bytes ? 'bytes' : 'slots',
        buffer: flags.cacheBuffer,
        divergence: flags.divergence,
        questions: flags.questions,
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
      if (flags.plot !== undefined) await writePlot(flags.plot, plotComparison(rows), io);
      if (flags.markdown !== undefined) await writeResult(flags.markdown, comparisonMarkdown(rows), io);
    });
  });
}

const textOption = () => new Option('--text <file>', 'the text (default, for the small model: one that comes with it)');
const casesOption = () =>
  new Option('--cases <file>', 'cases, one JSON object a line (default: those that come with the small model)');
