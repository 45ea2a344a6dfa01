/**
 * @file `keyhold eval ruler`: tasks on long contexts.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { RULER_TASKS, type RulerTask, ruler } from '../../exports/eval.ts';
import { addCommon, budgetOf, type EvalFlags, lines, useModel } from '../eval-common.ts';
import { addExamples } from '../help.ts';
import { readPassages } from '../input/eval-inputs.ts';
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
import { rulerLines } from '../output/eval-views.ts';

interface RulerFlags extends EvalFlags, CacheFlags {
  readonly tasks?: readonly RulerTask[];
  readonly length: number;
  readonly cases: number;
  readonly seed: number;
  readonly passages?: string;
}

export function addRuler(parent: Command, io: CliIo): void {
  const command = parent
    .command('ruler')
    .summary('tasks on long contexts: find, follow, count, answer')
    .description(
      'Tasks after RULER: one or several needles, variables, common and frequent words, questions about passages. Cases are made from a ' +
        'seed. The question comes after the context is in the cache. The score is the part of the expected answers that the text has.',
    )
    .addOption(
      new Option(
        '--tasks <names>',
        `which ones, with commas between: ${RULER_TASKS.join(', ')} (default: all)`,
      ).argParser(readTasks),
    )
    .addOption(new Option('--length <n>', 'tokens of each case').argParser(wholeFrom(1)).default(1024))
    .addOption(new Option('--cases <n>', 'cases of each task').argParser(wholeFrom(1)).default(10))
    .addOption(new Option('--seed <n>', 'which cases').argParser(wholeFrom(0)).default(1))
    .option('--passages <file>', 'passages for questions, one JSON object a line: passage, question, answers');
  addCommon(command);
  addCacheOptions(command);
  addHubOptions(command);
  addExamples(command, [
    [
      'needles in a quarter of the bytes of a dense cache',
      'keyhold eval ruler --tasks single,multi-key --length 512 --cases 2 -p keydiff --cache-bytes 25%',
    ],
  ]);
  command.action(async (model: string | undefined, given: RulerFlags) => {
    const flags = withModel(command, model, given);
    const cache = await cacheOptions(flags);
    const passages = flags.passages === undefined ? undefined : await readPassages(flags.passages);
    await useModel(flags, io, async (loaded, progress) => {
      await calibrateForCommand(loaded, cache, io, progress);
      const result = await ruler(loaded, {
        cache: budgetOf(cache),
        tasks: flags.tasks,
        length: flags.length,
        count: flags.cases,
        seed: flags.seed,
        passages,
        chunkLength: flags.chunkLength,
        signal: io.signal,
        onProgress: (done, total) => progress.update({ label: 'Asking', done, total, unit: 'runs' }),
      });
      progress.end();
      await write(io, flags.json ? `${JSON.stringify(result)}\n` : lines(rulerLines(result)));
    });
  });
}

function readTasks(text: string): RulerTask[] {
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !(RULER_TASKS as readonly string[]).includes(name));
  if (unknown !== undefined)
    throw new InvalidArgumentError(`There is no task "${unknown}"; there are ${RULER_TASKS.join(', ')}.`);
  return names as RulerTask[];
}
