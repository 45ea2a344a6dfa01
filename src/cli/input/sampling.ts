/**
 * @file The options of sampling: what the flags say, over what the model's generation_config.json says.
 */
import { type Command, Option } from 'commander';
import { generationDefaults } from '../../exports/checkpoint.ts';
import type { SamplingOptions } from '../../index.ts';
import { numberThat, wholeFrom } from './options.ts';

export interface SamplingFlags {
  readonly temperature?: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly minP?: number;
  readonly repetitionPenalty?: number;
  readonly presencePenalty?: number;
  readonly frequencyPenalty?: number;
  readonly seed?: number;
}

/**
 * @param otherwise what holds where generation_config.json says nothing.
 */
export function addSamplingOptions(command: Command, otherwise = 'greedy'): Command {
  const option = <T>(flags: string, description: string, read: (text: string) => T) =>
    command.addOption(new Option(flags, description).argParser(read));
  command.optionsGroup(`Sampling (default: what the model's generation_config.json says, else ${otherwise}):`);
  option('-t, --temperature <t>', '0: always the most likely token; higher: less likely ones, too', number0);
  option('--top-k <n>', 'draw from the n most likely tokens; 0: from all', wholeFrom(0));
  option('--top-p <p>', 'draw from the most likely tokens whose probabilities add up to p', share);
  option(
    '--min-p <p>',
    'draw from tokens at least p times as likely as the most likely one',
    numberThat('from 0 to 1', (v) => v >= 0 && v <= 1),
  );
  option(
    '--repetition-penalty <r>',
    'above 1: tokens that are in the context become less likely',
    numberThat('above 0', (v) => v > 0),
  );
  option('--presence-penalty <p>', 'subtracted from the logit of each token that was generated', anyNumber);
  option(
    '--frequency-penalty <p>',
    'subtracted from the logit of a token, times how often it was generated',
    anyNumber,
  );
  return option('--seed <n>', 'the same seed gives the same text (default: a random one)', wholeFrom(0));
}

const anyNumber = numberThat('from -2 to 2', (v) => v >= -2 && v <= 2);
const number0 = numberThat('of at least 0', (v) => v >= 0);
const share = numberThat('above 0 and at most 1', (v) => v > 0 && v <= 1);

/**
 * What `chat` does where generation_config.json says nothing of sampling: small models repeat themselves when greedy.
 */
export const CHAT_SAMPLING: SamplingOptions = { temperature: 0.7, topP: 0.95, minP: 0.05 };

/**
 * The options in force. The seed is chosen here where none is given, so that it can be reported.
 * @param otherwise what holds where neither the flags nor generation_config.json say anything.
 */
export function samplingOptions(
  flags: SamplingFlags,
  generationConfig: Readonly<Record<string, unknown>>,
  otherwise: SamplingOptions = { temperature: 0 },
): SamplingOptions {
  const { eosTokenIds: _, ...wished } = generationDefaults(generationConfig);
  const { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty, seed } = flags;
  const all = { temperature, topK, topP, minP, repetitionPenalty, presencePenalty, frequencyPenalty };
  const said = Object.entries(all).filter(([, v]) => v !== undefined);
  const silent = wished.temperature === undefined && generationConfig['do_sample'] !== false;
  const base = silent ? otherwise : {};
  const options: SamplingOptions = { temperature: 0, ...base, ...wished, ...Object.fromEntries(said) };
  return options.temperature === 0
    ? options
    : { ...options, seed: seed ?? crypto.getRandomValues(new Uint32Array(1))[0] };
}

/** `temperature 0.7, top-p 0.95, min-p 0.05`, or `greedy` */
export function samplingWords(options: SamplingOptions): string {
  if (!options.temperature) return 'greedy';
  const names = { temperature: 'temperature', topK: 'top-k', topP: 'top-p', minP: 'min-p' } as const;
  return Object.entries(names)
    .flatMap(([key, name]) => {
      const value = options[key as keyof typeof names];
      return value === undefined ? [] : `${name} ${value}`;
    })
    .join(', ');
}

/** The flags that were given and change nothing, because the likeliest token is always taken. */
export function idleFlags(flags: SamplingFlags, options: SamplingOptions): string[] {
  if (options.temperature !== 0) return [];
  const drawing = { '--top-k': flags.topK, '--top-p': flags.topP, '--min-p': flags.minP, '--seed': flags.seed };
  return Object.entries(drawing).flatMap(([name, value]) => (value === undefined ? [] : [name]));
}
