/**
 * @file The options that commands share, each defined once, and how their values are read.
 */
import { stat } from 'node:fs/promises';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Command, InvalidArgumentError, Option } from 'commander';
import { WEIGHT_CHOICES } from '../../exports/checkpoint.ts';
import {
  type AnyCacheOptions,
  type AnyPolicy,
  BUFFERS,
  type BufferChoice,
  type BufferKind,
  checkCacheOptions,
  POLICIES,
  readCacheBytes,
} from '../../exports/policies.ts';
import { InputError, type WeightChoice } from '../../index.ts';
import { isModule, namesIn, readCombination } from '../../kvcache/policy/policy-names.ts';
import { policyOfModules } from '../../kvcache/policy-modules.ts';
import { DEVICES, type DeviceName, ENGINES, type EngineName } from '../../load/engines-node.ts';
import type { LoadOptions } from '../../node.ts';
import { shippedFolder, TINY_MODEL } from '../../util/files/shipped-node.ts';
import { UsageError } from '../failure.ts';
import { helpSection } from '../help.ts';
import { type Progress, retryNote } from '../output/progress.ts';

/** The folder of the small model that ships with the package. */
export const SMALL_MODEL = shippedFolder(TINY_MODEL)!;

/** Whether a model's name is that of the small model. */
export const isSmallModel = (model: string): boolean => model === TINY_MODEL || resolve(model) === SMALL_MODEL;

/** A reader of whole numbers. */
export function wholeFrom(min: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!Number.isSafeInteger(value) || value < min)
      throw new InvalidArgumentError(`It must be a whole number of at least ${min}.`);
    return value;
  };
}

/** A text that is there. */
export function notEmpty(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.');
  return text;
}

/** A reader of numbers for which `fits` holds; `range` says which these are. */
export function numberThat(range: string, fits: (value: number) => boolean): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (!Number.isFinite(value) || !fits(value)) throw new InvalidArgumentError(`It must be a number ${range}.`);
    return value;
  };
}

export interface HubFlags {
  readonly revision?: string;
  readonly offline?: boolean;
  readonly token?: string;
}

export function addHubOptions(command: Command): Command {
  return command
    .optionsGroup('Hub (models named org/name):')
    .addOption(new Option('--revision <name>', 'branch, tag or commit (default: main)'))
    .addOption(new Option('--offline', 'use what was downloaded before, and no network'))
    .addOption(new Option('--token <token>', 'access token for private and gated models (better: set HF_TOKEN)'));
}

export function hubOptions(flags: HubFlags, progress: Progress): NonNullable<LoadOptions['hub']> {
  const { revision, offline, token } = flags;
  // Only what was said: the environment decides about the rest.
  return { revision, ...(offline ? { offline } : {}), token, onRetry: retryNote(progress) };
}

/** What to name a model by. */
export function modelOption(): Option {
  return new Option(
    '-m, --model <model>',
    'a folder, a .safetensors or .gguf file, or a name on the Hugging Face hub: org/name, or org/name:Q4_K_M of GGUF',
  ).default(TINY_MODEL, `${TINY_MODEL}, the small model that ships with keyhold`);
}

/** Adds the model as first argument of a command. */
export function addModelArgument(command: Command): Command {
  return command.argument(
    '[model]',
    'a folder, a .safetensors or .gguf file, or a name on the hub; the same as --model',
  );
}

/** The flags, with the model that the argument or --model names. @throws UsageError where both do. */
export function withModel<T extends { readonly model: string }>(
  command: Command,
  argument: string | undefined,
  flags: T,
): T {
  if (argument !== undefined && command.getOptionValueSource('model') === 'cli')
    throw new UsageError('there are two models: an argument and a --model; give one of them');
  return argument === undefined ? flags : { ...flags, model: notEmpty(argument) };
}

export function weightsOption(): Option {
  return new Option(
    '-w, --weights <format>',
    'how weights are stored: auto is float32 up to 100M parameters, f16 up to 200M on ggml, else int8; the names from f16 on are formats of the ggml engine',
  )
    .choices(WEIGHT_CHOICES)
    .argParser(readWeights)
    .default('auto');
}

function readWeights(text: string): WeightChoice {
  const name = text.toLowerCase();
  const choice = (name === 'f32' ? 'float32' : name) as WeightChoice;
  if (!WEIGHT_CHOICES.includes(choice))
    throw new InvalidArgumentError(`Allowed choices are ${WEIGHT_CHOICES.join(', ')}.`);
  return choice;
}

/** @param byDefault the default, in words. */
export function chunkLengthOption(
  byDefault = '256; 512 with ggml where the cache evicts nothing; 64 where it evicts tokens of the prompt or rounds its slots',
): Option {
  return new Option(
    '--chunk-length <n>',
    `tokens of the prompt that one step computes (default: ${byDefault})`,
  ).argParser(wholeFrom(1));
}

export interface LoadFlags extends HubFlags {
  readonly model: string;
  readonly weights: WeightChoice;
  readonly threads?: number;
  readonly engine?: EngineName;
  readonly device?: DeviceName;
  readonly adapter?: readonly AdapterFlag[];
  readonly liveAdapters?: boolean;
}

/** An adapter, and how much it counts. */
export interface AdapterFlag {
  readonly path: string;
  readonly weight: number;
  /** @default its number, from 1 */
  readonly name?: string;
}

/** `PATH` or `PATH=WEIGHT`, may be given several times. */
export function adapterOption(): Option {
  return new Option(
    '--adapter <path[=weight]>',
    'a LoRA, DoRA or adapter folder to use (default weight: 1); may be given several times',
  ).argParser((text: string, before: readonly AdapterFlag[] = []) => [...before, adapterFlag(text)]);
}

function adapterFlag(text: string): AdapterFlag {
  const [, path, weight] = /^(.*?)(?:=([^=/\\]*))?$/s.exec(text)!;
  if (path === '') throw new InvalidArgumentError('The path is empty.');
  if (weight === undefined) return { path, weight: 1 };
  const value = weight.trim() === '' ? Number.NaN : Number(weight);
  if (!Number.isFinite(value)) throw new InvalidArgumentError('The weight must be a number.');
  return { path, weight: value };
}

export function addLoadOptions(command: Command, { liveAdapters = true } = {}): Command {
  command
    .optionsGroup('Model:')
    .addOption(modelOption())
    .addOption(weightsOption())
    .addOption(new Option('--engine <name>', 'what computes the model (default: ggml)').choices(ENGINES))
    .addOption(
      new Option('--device <name>', 'where the engine ggml computes (default: cpu); others need a package').choices(
        DEVICES,
      ),
    )
    .addOption(new Option('--threads <n>', 'threads to compute with (default: all cores)').argParser(wholeFrom(1)))
    .addOption(adapterOption());
  if (liveAdapters)
    command.addOption(
      new Option('--live-adapters', 'keep adapters beside the weights instead of preparing weights with them'),
    );
  return command;
}

export interface CacheFlags {
  readonly cachePolicy?: string;
  readonly cacheLength?: number;
  readonly cacheBytes?: string;
  readonly cacheBuffer?: BufferChoice;
  readonly sinks?: number;
  readonly cacheOption?: Readonly<Record<string, unknown>>;
}

export function bufferOption(): Option {
  return new Option(
    '--cache-buffer <kind>',
    `how keys and values are stored: ${Object.keys(BUFFERS).join(', ')}, or two of them for keys and values, such as ` +
      'int8,int4 (default: float32, or what the bytes choose)',
  ).argParser(readBuffer);
}

export function addCacheOptions(command: Command): Command {
  return command
    .optionsGroup('Cache:')
    .addOption(
      new Option(
        '-p, --cache-policy <name>',
        'which tokens stay when the cache is full: a name, ada(…), mix(…) or routed(…) of names, or a module that ' +
          'exports a policy ' +
          '(default: dense, or lastrec where a --cache-length or --cache-bytes is given)',
      ),
    )
    .addOption(
      new Option('-c, --cache-length <n>', "tokens that the cache may hold (default: the model's context)").argParser(
        wholeFrom(1),
      ),
    )
    .addOption(
      new Option(
        '--cache-bytes <size>',
        'memory that the cache may take, tables included, such as 64MB, or 10% of a dense float16 cache for the context ' +
          '(in eval: for the sequence); it chooses the length, and the buffer unless that is given',
      ).argParser(readBytes),
    )
    .addOption(bufferOption())
    .addOption(
      new Option('--sinks <n>', 'tokens at the very start that always stay (default: 4)').argParser(wholeFrom(0)),
    )
    .addOption(
      new Option(
        '--cache-option <name=value>',
        'an option of the policy, such as recent=64; may be given several times',
      ).argParser(readCacheOption),
    )
    .addHelpText('after', helpSection('Cache policies:', policyList()));
}

/** A size of memory, or a part of it. @throws InvalidArgumentError */
export function readBytes(text: string): string {
  try {
    readCacheBytes(text);
  } catch {
    throw new InvalidArgumentError('It must be a size, such as 64MB or 512KiB, or a part, such as 10%.');
  }
  return text;
}

function readBuffer(text: string): BufferChoice {
  const [keys, values = keys, ...more] = text.split(',');
  for (const kind of [keys, values])
    if (more.length > 0 || !Object.hasOwn(BUFFERS, kind))
      throw new InvalidArgumentError(
        `It must be one of ${Object.keys(BUFFERS).join(', ')}, or two with a comma between.`,
      );
  return keys === values ? (keys as BufferKind) : { keys: keys as BufferKind, values: values as BufferKind };
}

/** Adds an option `name=value`. @throws InvalidArgumentError for what is none. */
export function readCacheOption(text: string, before: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const [, name, value] = /^([a-zA-Z]\w*)=(.+)$/.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('It must be a name and a value, such as recent=64.');
  const read = value === 'true' ? true : value === 'false' ? false : Number(value);
  if (Number.isNaN(read)) throw new InvalidArgumentError(`${value} is no number, true or false.`);
  return { ...before, [name]: read };
}

function policyList(): string {
  const width = Math.max(...Object.keys(POLICIES).map((name) => name.length));
  return Object.entries(POLICIES)
    .map(([name, { summary }]) => `  ${name.padEnd(width)}  ${summary}`)
    .join('\n');
}

/**
 * The cache that the flags ask for. With a length or bytes the default policy is `lastrec`, without one `dense`.
 * @throws UsageError for what can't be meant, before anything is loaded.
 */
export async function cacheOptions(flags: CacheFlags): Promise<Partial<AnyCacheOptions>> {
  const { cacheLength, cacheBytes, sinks, cacheBuffer: buffer, cacheOption = {} } = flags;
  const isBounded = [cacheLength, cacheBytes, sinks].some((given) => given !== undefined);
  const name = flags.cachePolicy ?? (isBounded ? 'lastrec' : 'dense');
  const policy = await findPolicy(name);
  if (sinks !== undefined && policy === 'dense')
    throw new UsageError('--sinks is for policies that evict tokens; dense keeps them all');
  if (sinks !== undefined && cacheLength !== undefined && sinks >= cacheLength)
    throw new UsageError(`--sinks ${sinks} leaves no slot for recent tokens in a --cache-length of ${cacheLength}`);
  const said = Object.entries({ cacheLength, cacheBytes, sinks, buffer }).filter(([, value]) => value !== undefined);
  const options = { policy, ...cacheOption, ...Object.fromEntries(said) };
  asUsage(() => checkCacheOptions(options));
  return options;
}

/**
 * A policy by its name, where paths of modules may be among the names: `routed(./mine.mjs, lastrec)`.
 * @throws UsageError where there is none.
 */
export async function findPolicy(name: string): Promise<AnyPolicy> {
  if (!namesIn(name).some(isModule)) {
    const hint = ' (a policy of your own is given by its path, such as ./policy.mjs)';
    asUsage(() => checkCacheOptions({ policy: name }), '', readCombination(name) ? '' : hint);
    return name;
  }
  try {
    return await policyOfModules(name, importFile);
  } catch (error) {
    return asUsage(() => {
      throw error;
    });
  }
}

/** @throws InputError where there is no such file: Node's message would name the module that imports it. */
async function importFile(path: string): Promise<unknown> {
  const file = resolve(path);
  await stat(file).catch((cause: Error) => {
    throw new InputError(`there is no file ${file}`, { cause });
  });
  return import(pathToFileURL(file).href);
}

/**
 * Options of a cache for a model in a worker, where policies of one's own are given by their paths.
 * @param name of the policy.
 */
export function optionsForWorker(
  options: Partial<AnyCacheOptions>,
  name: string | undefined,
): Partial<AnyCacheOptions> {
  const { policy, ...rest } = options;
  return typeof policy === 'string' || policy === undefined ? options : { ...rest, policyModule: name };
}

/**
 * Runs what takes these options: what a policy refuses is wrong usage.
 * @param where begins the message.
 * @param hint ends it.
 */
export function asUsage<T>(use: () => T, where = '', hint = ''): T {
  try {
    return use();
  } catch (error) {
    throw error instanceof InputError ? new UsageError(where + error.message + hint, { cause: error }) : error;
  }
}
