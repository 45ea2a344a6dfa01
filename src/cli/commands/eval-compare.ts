/**
 * @file `keyhold eval compare`: policies side by side under budgets.
 */
import { type Command, Option } from 'commander';
import { measuredWords } from '../../eval/plot.ts';
import { compare, comparisonMarkdown, plotComparison, type QuestionPosition } from '../../exports/eval.ts';
import type { BufferChoice } from '../../exports/policies.ts';
import { addCommon, casesOption, type EvalFlags, lines, textOption, useModel } from '../eval-common.ts';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import {
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
} from '../input/eval-inputs.ts';
import { addHubOptions, bufferOption, wholeFrom, withModel } from '../input/options.ts';
import { checkTarget } from '../input/targets.ts';
import { type CliIo, tell, write } from '../io.ts';
import { calibrateForCommand } from '../models/load.ts';
import { comparisonTable } from '../output/eval-views.ts';

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

export function addCompare(parent: Command, io: CliIo): void {
  const command = parent
    .command('compare')
    .summary('policies side by side')
    .description(
      'Measures policies under budgets: perplexity, and recall with a question that comes after the context is in the cache, ' +
        'beside a dense cache. Intervals are of 95 % (bootstrap), from 5 cases or chunks of text on.',
    )
    .addOption(
      new Option(
        '--policies <names>',
        'which ones: names, paths of modules, mix(…), ada(…) and routed(…) of them, with commas between; options follow a colon: h2o:recent=16',
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
  command.action((model: string | undefined, given: CompareFlags) => runCompare(withModel(command, model, given), io));
}

/** @throws UsageError where nothing is left to measure, and for files that can't be read or written. */
async function runCompare(flags: CompareFlags, io: CliIo): Promise<void> {
  if (flags.plot !== undefined) await checkPlot(flags.plot);
  if (flags.markdown !== undefined) await checkTarget('--markdown', flags.markdown);
  const contestants = await Promise.all(flags.policies.map(contestant));
  const text = flags.text === false ? undefined : await readText(flags.text, flags.model);
  const cases = flags.cases === false ? undefined : await readCases(flags.cases, flags.model, flags);
  if (text === undefined && cases === undefined)
    throw new UsageError('--no-text and --no-cases together leave nothing to measure');
  await useModel(flags, io, async (loaded, progress) => {
    for (const { policy } of contestants) await calibrateForCommand(loaded, { policy }, io, progress);
    const results = await compare(loaded, {
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
      onResult: (_, done, total) => progress.update({ label: 'Comparing', done, total, unit: 'runs' }),
    });
    progress.end();
    await write(io, flags.json ? `${JSON.stringify(results)}\n` : lines(comparisonTable(results)));
    if (!flags.json) tell(io, `measured on ${measuredWords(results)}`);
    if (flags.plot !== undefined) await writePlot(flags.plot, plotComparison(results), io);
    if (flags.markdown !== undefined) await writeResult(flags.markdown, comparisonMarkdown(results), io);
  });
}
