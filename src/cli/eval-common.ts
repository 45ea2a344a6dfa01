/**
 * @file What all evaluations on the command line have in common.
 */
import { type Command, Option } from 'commander';
import type { AnyCacheOptions } from '../exports/policies.ts';
import type { LanguageModel } from '../index.ts';
import { addLoadOptions, addModelArgument, type LoadFlags, wholeFrom } from './input/options.ts';
import type { CliIo } from './io.ts';
import { loadForCommand } from './models/load.ts';
import { Progress } from './output/progress.ts';

export interface EvalFlags extends LoadFlags {
  readonly chunkLength?: number;
  readonly json?: boolean;
}

export function addCommon(command: Command): void {
  command
    .addOption(
      new Option(
        '--chunk-length <n>',
        'tokens that one step computes; a policy decides after each chunk (default: 64)',
      ).argParser(wholeFrom(1)),
    )
    .option('--json', 'print JSON');
  addModelArgument(command);
  addLoadOptions(command);
}

/** Without a budget of its own, a cache holds what it is given. */
export function budgetOf(cache: Partial<AnyCacheOptions>): Partial<AnyCacheOptions> {
  const { policy, cacheLength, cacheBytes, buffer } = cache;
  const isGiven = [cacheLength, cacheBytes, buffer].some((value) => value !== undefined);
  return policy === 'dense' && !isGiven ? {} : cache;
}

export async function useModel(
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

export const lines = (all: readonly string[]): string => `${all.join('\n')}\n`;

export const textOption = () =>
  new Option('--text <file>', 'the text (default, for the small model: one that comes with it)');
export const casesOption = () =>
  new Option('--cases <file>', 'cases, one JSON object a line (default: those that come with the small model)');
