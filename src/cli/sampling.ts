/**
 * @file The options of sampling: what the flags say, over what the model's generation_config.json says.
 */
import { type Command, Option } from 'commander';
import { generationDefaults } from '../exports/checkpoint.ts';
import type { SamplingOptions } from '../index.ts';
import { numberThat, wholeFrom } from './options.ts';

export interface SamplingFlags {
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly seed?: number;
}

export function addSamplingOptions(command: Command): Command {
  const option = <T>(flags: string, description: string, read: (text: string) => T) =>
    command.addOption(new Option(flags, description).argParser(read));
  command.optionsGroup("Sampling (unless stated, what the model's generation_config.json says, else greedy):");
  option('-t, --temperature <t>', '0: always the likeliest token; higher: more surprises', number0);
  option('--top-k <n>', 'draw from the n likeliest tokens; 0: from all', wholeFrom(0));
  option('--top-p <p>', 'draw from the likeliest tokens that come to p together', share);
  option(
    '--min-p <p>',
    'draw from tokens at least p times as likely as the likeliest',
    numberThat('from 0 to 1', (v) => v >= 0 && v <= 1),
  );
  option(
    '--repetition-penalty <r>',
    'above 1: what was there before becomes less likely',
    numberThat('above 0', (v) => v > 0),
  );
  return option('--seed <n>', 'the same seed gives the same text (default: a random one)', wholeFrom(0));
}

const number0 = numberThat('of at least 0', (v) => v >= 0);
const share = numberThat('above 0 and at most 1', (v) => v > 0 && v <= 1);

/** The seed is chosen here where none is given, so that it can be told and the text be had again. */
export function samplingOptions(
  flags: SamplingFlags,
  generationConfig: Readonly<Record<string, unknown>>,
): SamplingOptions {
  const { eosTokenIds: _, ...wished } = generationDefaults(generationConfig);
  const { temperature, topK, topP, minP, repetitionPenalty, seed } = flags;
  const said = Object.entries({ temperature, topK, topP, minP, repetitionPenalty }).filter(([, v]) => v !== undefined);
  const options: SamplingOptions = { temperature: 0, ...wished, ...Object.fromEntries(said) };
  return options.temperature === 0
    ? options
    : { ...options, seed: seed ?? crypto.getRandomValues(new Uint32Array(1))[0] };
}

/** The flags that were given and change nothing, because the likeliest token is always taken. */
export function idleFlags(flags: SamplingFlags, options: SamplingOptions): string[] {
  if (options.temperature !== 0) return [];
  const drawing = { '--top-k': flags.topK, '--top-p': flags.topP, '--min-p': flags.minP, '--seed': flags.seed };
  return Object.entries(drawing).flatMap(([name, value]) => (value === undefined ? [] : [name]));
}
