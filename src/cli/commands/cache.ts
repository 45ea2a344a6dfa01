/**
 * @file `keyhold cache`: what models take on the disk, and how to remove it.
 */
import type { Command } from 'commander';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import { wholeFrom } from '../input/options.ts';
import { type CliIo, tell, write } from '../io.ts';
import { type CacheEntry, type DiskCaches, listCaches, removeEntry } from '../models/disk-caches.ts';
import { bytes, counted } from '../output/format.ts';
import { styleOf } from '../output/style.ts';

const DAY = 24 * 60 * 60 * 1000;

interface RemoveFlags {
  readonly weights?: boolean;
  /** Days. */
  readonly unusedFor?: number;
}

export function addCache(program: Command, io: CliIo): void {
  const command = program
    .command('cache')
    .summary('show and remove the files of models on the disk')
    .description(
      'Shows and removes models downloaded from the hub, in the folder that Python libraries use too, and weights that were ' +
        'prepared from checkpoints. Prepared weights are made again when they are needed.',
    );
  const list = command
    .command('ls')
    .summary('list downloads and prepared weights')
    .description('Lists downloads and prepared weights, with their sizes.')
    .option('--json', 'print one JSON object')
    .action(async (flags: { readonly json?: boolean }) => {
      const caches = await listCaches(io);
      await write(io, flags.json ? `${JSON.stringify(caches)}\n` : `${listLines(caches, io).join('\n')}\n`);
    });
  addExamples(list, [['all of them', 'keyhold cache ls']]);
  const remove = command
    .command('rm')
    .summary('remove downloads and prepared weights')
    .description('Removes the download of a model, and the weights that were prepared from it.')
    .argument('[model...]', 'names, as `keyhold cache ls` lists them')
    .option('--weights', 'only prepared weights: of these models, or all of them where no model is named')
    .option(
      '--unused-for <days>',
      'only prepared weights that no model was loaded from for so many days, such as those of an earlier version',
      wholeFrom(0),
    )
    .action((names: readonly string[], flags: RemoveFlags) => removeModels(names, flags, io));
  addExamples(remove, [
    ['a model and its prepared weights', 'keyhold cache rm Qwen/Qwen3-0.6B'],
    ['all prepared weights', 'keyhold cache rm --weights'],
    ['prepared weights that are not used any more', 'keyhold cache rm --unused-for 30'],
  ]);
  addExamples(command, [['what is there', 'keyhold cache ls']]);
  for (const sub of command.commands) sub.showHelpAfterError(`See keyhold cache ${sub.name()} --help.`);
}

async function removeModels(names: readonly string[], { unusedFor, ...flags }: RemoveFlags, io: CliIo): Promise<void> {
  const weights = flags.weights || unusedFor !== undefined;
  if (names.length === 0 && !weights)
    throw new UsageError('name the models to remove, as keyhold cache ls lists them, or say --weights');
  const { entries } = await listCaches(io);
  const wanted = entries.filter(({ kind }) => !weights || kind === 'weights');
  for (const name of names)
    if (!wanted.some(({ model }) => model === name))
      throw new UsageError(
        `there is no ${weights ? 'prepared weights' : 'download and no prepared weights'} of ${name}; keyhold cache ls lists what there is`,
      );
  const before = unusedFor === undefined ? Infinity : Date.now() - unusedFor * DAY;
  const chosen = wanted.filter(
    ({ model, lastUsed }) =>
      (names.length === 0 || names.includes(model)) && (before === Infinity || Date.parse(lastUsed ?? '') <= before),
  );
  for (const entry of chosen) await removeEntry(entry, io.signal);
  const { dim } = styleOf(io.stderr, io.env);
  tell(io, dim(`removed ${counted(chosen.length, 'folder')}, ${bytes(sum(chosen))}`));
}

function listLines({ hubFolder, weightsFolder, entries }: DiskCaches, io: CliIo): string[] {
  const { bold, dim } = styleOf(io.stdout, io.env);
  const section = (title: string, folder: string, kind: CacheEntry['kind']) => {
    const list = entries.filter((entry) => entry.kind === kind);
    return [
      `${bold(title)}  ${bytes(sum(list))}  ${dim(folder)}`,
      ...list.map(
        ({ model, format, bytes: size, lastUsed }) =>
          `  ${bytes(size).padStart(9)}  ${model}${format ? dim(` (${format})`) : ''}${lastUsed ? dim(`, used ${lastUsed.slice(0, 10)}`) : ''}`,
      ),
    ];
  };
  return [...section('Downloads', hubFolder, 'download'), '', ...section('Prepared weights', weightsFolder, 'weights')];
}

const sum = (entries: readonly CacheEntry[]): number => entries.reduce((all, { bytes: size }) => all + size, 0);
