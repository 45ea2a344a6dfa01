/**
 * @file `keyhold generate`: text that goes on from a prompt.
 */
import { existsSync } from 'node:fs';
import { type Command, Option } from 'commander';
import type { AnyCacheOptions } from '../../exports/policies.ts';
import {
  type BatchOptions,
  type GenerateOptions,
  InputError,
  type LanguageModel,
  type SamplingOptions,
  type TextFormat,
} from '../../index.ts';
import { TINY_MODEL } from '../../util/files/shipped-node.ts';
import { readRequests } from '../batch/batch-lines.ts';
import { runBatch } from '../batch/prompts-file.ts';
import { DEMO_FLAGS, DEMO_PROMPT, DemoView } from '../demo.ts';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import {
  addCacheOptions,
  addHubOptions,
  addLoadOptions,
  asUsage,
  type CacheFlags,
  cacheOptions,
  chunkLengthOption,
  type LoadFlags,
  notEmpty,
  wholeFrom,
} from '../input/options.ts';
import { type PromptFlags, readPrompt } from '../input/prompt.ts';
import { addSamplingOptions, idleFlags, type SamplingFlags, samplingOptions } from '../input/sampling.ts';
import { addFormatOptions, type FormatFlags, formatOf } from '../input/text-format.ts';
import { type CliIo, PipeClosed, tell } from '../io.ts';
import { calibrateForCommand, loadForCommand } from '../models/load.ts';
import { counted } from '../output/format.ts';
import { Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';
import type { RunFacts } from '../output/summary.ts';
import { JsonView, PlainView, type RunView } from '../output/views.ts';
import { recordRun } from '../record.ts';

interface GenerateFlags extends LoadFlags, CacheFlags, PromptFlags, SamplingFlags, FormatFlags {
  readonly chunkLength?: number;
  readonly maxNewTokens?: number;
  readonly stop: readonly string[];
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly demo?: boolean;
  readonly prompts?: string;
  readonly out?: string;
  readonly batchSize?: number;
  readonly logprobs?: number;
  readonly speculate?: boolean;
  readonly draft?: string;
}

export function addGenerate(program: Command, io: CliIo): void {
  const command = program
    .command('generate')
    .summary('continue a prompt')
    .description('Continues a prompt: the text to stdout as it comes, everything else to stderr.')
    .argument('[prompt]', 'the text to continue; without it, or with "-", it is read from stdin')
    .option('-f, --prompt-file <file>', 'read the prompt from a file')
    .addOption(
      new Option('-n, --max-new-tokens <n>', 'largest number of new tokens (default: 256)').argParser(wholeFrom(1)),
    )
    .addOption(
      new Option(
        '--stop <text>',
        'end where this text appears; may be given several times (default: nowhere)',
      ).argParser((text: string, before: readonly string[] = []) => [...before, notEmpty(text)]),
    )
    .option('--json', 'print one JSON object at the end: text, tokens, timings, cache')
    .option('-q, --quiet', 'write the text only: no progress, no summary')
    .option(
      '--demo',
      'a first look: the small model generates a text, and you see which tokens its cache held and evicted',
    );
  command
    .addOption(
      new Option(
        '--logprobs <n>',
        'with --json or --prompts: log probabilities of the tokens, and of the n most likely ones',
      ).argParser(wholeFrom(0)),
    )
    .option(
      '--speculate',
      'draft tokens by prompt lookup, and verify several at once: the same text with float32 weights, sooner',
    )
    .option(
      '--draft <model>',
      'a smaller model with the same tokenizer drafts tokens, and several are verified at once',
    );
  command
    .optionsGroup('Many prompts at once:')
    .option('--prompts <file>', 'one prompt a line, in JSON: a text, or an object with prompt or messages, and options')
    .option(
      '--out <file>',
      'append each result to this file as a line of JSON; prompts that have a result there are not run again',
    )
    .addOption(
      new Option('--batch-size <n>', 'prompts that run at the same time (default: 8)').argParser(wholeFrom(1)),
    );
  addLoadOptions(command);
  addCacheOptions(command).addOption(chunkLengthOption());
  addSamplingOptions(command);
  addFormatOptions(command);
  addHubOptions(command);
  addExamples(command, [
    ['continue a text, with the small model', 'keyhold generate "And it came to pass"'],
    ['write a long text, in a cache of 256 tokens', 'keyhold generate "And" -c 256 -n 5000'],
    [
      'a model from the hub in 4 bits; it is downloaded once',
      'keyhold generate -m Qwen/Qwen3-0.6B -w int4 "The sea is"',
    ],
    [
      'with an adapter, and another one with the weight 0.5',
      'keyhold generate --adapter tuned --adapter style=0.5 "And"',
    ],
    ['a prompt from a pipe, the result for a program', 'cat notes.txt | keyhold generate --json'],
    ['a file of prompts, eight at a time', 'keyhold generate --prompts prompts.jsonl --out texts.jsonl'],
  ]);
  // Of several words commander says only that they are too many.
  command.allowExcessArguments().action((_: unknown, flags: GenerateFlags) => generate(command.args, flags, io));
}

async function generate(words: readonly string[], given: GenerateFlags, io: CliIo): Promise<void> {
  const argument = onlyPrompt(words, given);
  const flags: GenerateFlags = given.demo ? { ...DEMO_FLAGS, ...given } : given;
  const { json = false, quiet = false, demo = false } = flags;
  checkFlags(argument, flags);
  const cache = await cacheOptions(flags);
  const format = await formatOf(flags);
  if (flags.prompts !== undefined) return generateMany(flags.prompts, flags, cache, format, io);
  const usesDemoPrompt = demo && argument === undefined && flags.promptFile === undefined;
  const prompt = usesDemoPrompt ? DEMO_PROMPT : await readPrompt(argument, flags, io);
  const progress = new Progress(io, quiet);
  const begin = performance.now();
  const model = await loadForCommand(flags, io, progress);
  let draft: LanguageModel | null = null;
  try {
    await calibrateForCommand(model, cache, io, progress);
    draft = await loadDraft(flags, io, progress);
    const sampling = samplingOptions(flags, model.generationConfig);
    const facts: RunFacts = { model, loadMs: performance.now() - begin, sampling };
    noteIdle(flags, sampling, io);
    const view: RunView = json
      ? new JsonView(io, quiet)
      : demo
        ? new DemoView(io, prompt)
        : new PlainView(io, argument === prompt ? prompt : '', quiet);
    const options: GenerateOptions = {
      ...sampling,
      ...textOptions(flags, format, draft),
      cache: asUsage(() => model.createCache(cache)),
      signal: io.signal,
      onPrefill: (done, total) => progress.update({ label: 'Reading the prompt', done, total, unit: 'tokens' }),
    };
    asUsage(() => model.generate([0], options));
    const tokens = model.tokenizer.encode(prompt);
    await view.begin(facts);
    const { record, error } = await recordRun(model, tokens, options, (text) => {
      progress.end();
      return view.piece(text);
    });
    progress.end();
    if (!(io.signal.reason instanceof PipeClosed)) view.end(record, facts);
    if (error !== undefined) throw error;
  } finally {
    await draft?.dispose();
    await model.dispose();
  }
}

/** What the flags say of every text, besides sampling and the cache. */
function textOptions(flags: GenerateFlags, format: TextFormat | undefined, draft: LanguageModel | null) {
  const { stop, maxNewTokens, chunkLength, logprobs: topLogprobs, speculate } = flags;
  return { format, stop, maxNewTokens, chunkLength, topLogprobs, speculate: draft ? { draft } : speculate };
}

async function generateMany(
  prompts: string,
  flags: GenerateFlags,
  cache: Partial<AnyCacheOptions>,
  format: TextFormat | undefined,
  io: CliIo,
): Promise<void> {
  const { quiet = false, out } = flags;
  const progress = new Progress(io, quiet);
  // A file that can't be read is reported before the model is loaded.
  const requests = await readRequests(prompts);
  const model = await loadForCommand(flags, io, progress);
  let draft: LanguageModel | null = null;
  try {
    draft = await loadDraft(flags, io, progress);
    const sampling = samplingOptions(flags, model.generationConfig);
    noteIdle(flags, sampling, io);
    const shared = { ...sampling, ...textOptions(flags, format, draft), cache };
    // What all requests would fail at.
    asUsage(() => model.generate([0], shared));
    const options: BatchOptions = { ...shared, batchSize: flags.batchSize };
    const failed = await runBatch(model, { requests, out, quiet }, options, io, progress);
    if (failed > 0) throw new InputError(`${counted(failed, 'request')} failed; the results say why`);
  } finally {
    progress.end();
    await draft?.dispose();
    await model.dispose();
  }
}

/** The prompt of the command line. @throws UsageError for several, and for what is a model's file. */
function onlyPrompt(words: readonly string[], { model }: GenerateFlags): string | undefined {
  const prompt: string | undefined = words[0];
  if (words.length > 1)
    throw new UsageError(`there are ${words.length} prompts: put words in quotes together, and name a model with -m`);
  const isFile = /\.(gguf|safetensors)$/.test(prompt ?? '') && existsSync(prompt);
  if (isFile && model === TINY_MODEL)
    throw new UsageError(`${prompt} is a model, not a prompt: keyhold generate -m ${prompt} "In the beginning"`);
  return prompt;
}

/** @throws UsageError for flags that contradict each other. */
function checkFlags(argument: string | undefined, flags: GenerateFlags): void {
  const refuse = (message: string): never => {
    throw new UsageError(message);
  };
  const { cacheBuffer = 'float32' } = flags;
  if ((flags.speculate || flags.draft !== undefined) && cacheBuffer !== 'float32')
    refuse(
      `with --cache-buffer ${cacheBuffer} the text would not be the same with ${flags.speculate ? '--speculate' : '--draft'} as ` +
        'without it; leave one of them out',
    );
  if (flags.prompts === undefined) {
    if (flags.logprobs !== undefined && !flags.json) refuse('--logprobs are told with --json, or for --prompts');
    for (const [name, value] of Object.entries({ '--out': flags.out, '--batch-size': flags.batchSize }))
      if (value !== undefined) refuse(`${name} belongs to --prompts`);
    return;
  }
  if (argument !== undefined || flags.promptFile !== undefined)
    refuse('there are prompts in a file, and another prompt; give one or the other');
  for (const [name, value] of Object.entries({ '--demo': flags.demo, '--json': flags.json }))
    if (value) refuse(`${name} is for one prompt; results of --prompts are lines of JSON`);
}

async function loadDraft(flags: GenerateFlags, io: CliIo, progress: Progress): Promise<LanguageModel | null> {
  return flags.draft === undefined ? null : loadForCommand({ ...flags, model: flags.draft }, io, progress);
}

function noteIdle(flags: GenerateFlags, sampling: SamplingOptions, io: CliIo): void {
  const idle = idleFlags(flags, sampling);
  if (idle.length === 0) return;
  const note = `note: without effect at temperature 0: ${idle.join(', ')} (add --temperature)`;
  tell(io, styleOf(io.stderr, io.env).yellow(note));
}
