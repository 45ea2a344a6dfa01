/**
 * @file `keyhold estimate`: the memory that a run takes at most, and what of it is what.
 */
import { type Command, Option } from 'commander';
import type { WeightChoice } from '../../index.ts';
import { addExamples } from '../help.ts';
import {
  addCacheOptions,
  addHubOptions,
  addModelArgument,
  type CacheFlags,
  cacheOptions,
  chunkLengthOption,
  type HubFlags,
  hubOptions,
  modelOption,
  weightsOption,
  wholeFrom,
  withModel,
} from '../input/options.ts';
import { type CliIo, write } from '../io.ts';
import { inspectModel } from '../models/inspection.ts';
import { counted, parameters } from '../output/format.ts';
import { peakLines } from '../output/peak-lines.ts';
import { Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';

interface EstimateFlags extends HubFlags, CacheFlags {
  readonly model: string;
  readonly weights: WeightChoice;
  readonly context?: number;
  readonly chunkLength?: number;
  readonly json?: boolean;
}

export function addEstimate(program: Command, io: CliIo): void {
  const command = program
    .command('estimate')
    .summary('estimate the memory that a run takes at most')
    .description(
      'Estimates the peak memory of a process that computes as many tokens as --context says, and shows its parts. ' +
        'Nothing is loaded; of a model on the hub that was not downloaded yet, only config.json is fetched, or the header of its ' +
        'GGUF file.',
    )
    .addOption(modelOption())
    .addOption(weightsOption())
    .addOption(
      new Option(
        '--context <n>',
        "tokens of the prompt and the text together (default: the model's context)",
      ).argParser(wholeFrom(1)),
    )
    .addOption(chunkLengthOption('the most that a prompt has with this cache'))
    .option('--json', 'print the plan as one JSON object');
  addModelArgument(command);
  addCacheOptions(command);
  addHubOptions(command);
  addExamples(command, [
    ['the small model', 'keyhold estimate'],
    ['a model in 4 bits, with a cache of 2,048 tokens', 'keyhold estimate Qwen/Qwen3-0.6B -w int4 -c 2048'],
    ['for a program', 'keyhold estimate --context 2000 --json'],
  ]);
  command.action(async (argument: string | undefined, flags: EstimateFlags) => {
    await estimate(withModel(command, argument, flags), io);
  });
}

async function estimate(flags: EstimateFlags, io: CliIo): Promise<void> {
  const { model, context: contextLength, weights, chunkLength } = flags;
  const memory = { contextLength, weights, chunkLength, cache: await cacheOptions(flags) };
  const load = { hub: hubOptions(flags, new Progress(io)), signal: io.signal };
  const { config, plan } = await inspectModel(model, load, memory);
  if (flags.json) return write(io, `${JSON.stringify({ model, ...plan })}\n`);
  const { bold, dim, yellow } = styleOf(io.stdout, io.env);
  const title = `${bold(model)}  ${config.name}, ${parameters(plan.parameters)} parameters in ${plan.format}`;
  const lines = [
    title,
    '',
    bold(`Memory at most, for ${counted(plan.contextLength, 'token')}`),
    ...peakLines(plan, dim),
  ];
  if (Math.min(plan.contextLength, plan.cacheLength) > config.contextLength)
    lines.push(
      '',
      yellow(
        `That is more than the model's own context of ${counted(config.contextLength, 'token')}. ` +
          'Longer texts need a cache that evicts tokens: --cache-length below it.',
      ),
    );
  await write(io, `${lines.join('\n')}\n`);
}
