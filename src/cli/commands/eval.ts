/**
 * @file `keyhold eval`: how good a model is through a cache, and how good policies are side by side.
 */
import { type Command, Option } from 'commander';
import { divergence, type PerplexityOptions, perplexity, type QuestionPosition, recall } from '../../exports/eval.ts';
import type { LanguageModel } from '../../index.ts';
import { addCommon, budgetOf, casesOption, type EvalFlags, lines, textOption, useModel } from '../eval-common.ts';
import { addExamples } from '../help.ts';
import { readCases, readText } from '../input/eval-inputs.ts';
import {
  addCacheOptions,
  addHubOptions,
  type CacheFlags,
  cacheOptions,
  wholeFrom,
  withModel,
} from '../input/options.ts';
import { type CliIo, write } from '../io.ts';
import { calibrateForCommand } from '../models/load.ts';
import { divergenceLines, perplexityLines, recallLines } from '../output/eval-views.ts';
import { addCompare } from './eval-compare.ts';
import { addRuler } from './eval-ruler.ts';

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
