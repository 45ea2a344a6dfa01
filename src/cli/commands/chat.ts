/**
 * @file `keyhold chat`: a conversation at the terminal.
 */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ChatTemplate } from '../../exports/checkpoint.ts';
import {
  type ConversationOptions,
  InputError,
  type LanguageModel,
  type MessageTemplate,
  TokenizerError,
} from '../../index.ts';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import {
  addCacheOptions,
  addHubOptions,
  addLoadOptions,
  addModelArgument,
  asUsage,
  type CacheFlags,
  cacheOptions,
  type LoadFlags,
  notEmpty,
  wholeFrom,
  withModel,
} from '../input/options.ts';
import {
  addSamplingOptions,
  CHAT_SAMPLING,
  type SamplingFlags,
  samplingOptions,
  samplingWords,
} from '../input/sampling.ts';
import { readGivenFile } from '../input/text-file.ts';
import { addFormatOptions, type FormatFlags, formatOf } from '../input/text-format.ts';
import type { CliIo } from '../io.ts';
import { calibrateForCommand, loadForCommand } from '../models/load.ts';
import { suggestionLines } from '../models/suggested-models.ts';
import { Progress } from '../output/progress.ts';

interface ChatFlags extends LoadFlags, CacheFlags, SamplingFlags, FormatFlags {
  readonly system?: string;
  readonly template?: string;
  readonly templateOption?: Readonly<Record<string, unknown>>;
  readonly maxNewTokens?: number;
  readonly stop?: readonly string[];
  readonly load?: string;
  readonly quiet?: boolean;
}

/** Answers may be longer than what `generate` writes. */
const MAX_NEW_TOKENS = 1024;

const CACHE_FLAGS = ['cachePolicy', 'cacheLength', 'cacheBytes', 'cacheBuffer', 'sinks', 'cacheOption'] as const;

export function addChat(program: Command, io: CliIo): void {
  const command = program
    .command('chat')
    .summary('talk to a model')
    .description(
      'Holds a conversation with a model that has a chat template. Each line is a message. Each turn continues from the cache of ' +
        'the turn before it, so only new tokens are computed. /help lists the commands. Lines from a pipe are answered one by one.',
    )
    .option('-s, --system <text>', 'the system message')
    .option('--template <file>', "a chat template (Jinja) instead of the model's own")
    .addOption(
      new Option(
        '--template-option <name=value>',
        'a variable of the template, such as enable_thinking=false; may be given several times',
      ).argParser(readTemplateOption),
    )
    .addOption(
      new Option('-n, --max-new-tokens <n>', `most tokens of an answer (default: ${MAX_NEW_TOKENS})`).argParser(
        wholeFrom(1),
      ),
    )
    .addOption(
      new Option('--stop <text>', 'end an answer where this text appears; may be given several times').argParser(
        (text: string, before: readonly string[] = []) => [...before, notEmpty(text)],
      ),
    )
    .option('--load <file>', 'continue a conversation that /save has saved')
    .option('-q, --quiet', 'print the answers only');
  addModelArgument(command);
  addLoadOptions(command);
  addCacheOptions(command);
  addSamplingOptions(command, samplingWords(CHAT_SAMPLING));
  addFormatOptions(command);
  addHubOptions(command);
  addExamples(command, [
    ['talk to a model from the hub, in 4 bits', 'keyhold chat Qwen/Qwen3-0.6B -w int4'],
    ['for hours, in a cache of 2,048 tokens', 'keyhold chat Qwen/Qwen3-0.6B -c 2048'],
    ['one question, from a script', 'echo "What is a monad?" | keyhold chat -q Qwen/Qwen3-0.6B'],
  ]);
  command.action((argument: string | undefined, given: ChatFlags) => {
    const flags = withModel(command, argument, given);
    // The small model has no chat template.
    if (argument === undefined && command.getOptionValueSource('model') !== 'cli' && flags.template === undefined)
      throw new UsageError('name a model to talk to; each of these is downloaded once:', {
        details: suggestionLines(),
      });
    return chat(flags, io);
  });
}

async function chat(flags: ChatFlags, io: CliIo): Promise<void> {
  const { quiet = false } = flags;
  const cache = await cacheOptions(flags);
  const format = await formatOf(flags);
  const template = flags.template === undefined ? undefined : await readTemplate(flags.template);
  if (flags.load !== undefined)
    await (await import('../../chat/conversation-node.ts')).checkSavedConversation(flags.load);
  const progress = new Progress(io, quiet);
  const model = await loadForCommand(flags, io, progress);
  try {
    await calibrateForCommand(model, cache, io, progress);
    checkModel(model, template);
    const options: ConversationOptions = {
      ...samplingOptions(flags, model.generationConfig, CHAT_SAMPLING),
      messages: flags.system === undefined ? [] : [{ role: 'system', content: flags.system }],
      template,
      variables: flags.templateOption,
      maxNewTokens: flags.maxNewTokens ?? MAX_NEW_TOKENS,
      stop: flags.stop,
      format,
    };
    const made = asUsage(() => model.createCache(cache));
    // It knows the native runtime, which other commands shall not wait for.
    const { ChatSession } = await import('../chat-session.ts');
    const session = new ChatSession(model, io, {
      options,
      cache: made,
      choosesCache: CACHE_FLAGS.some((flag) => flags[flag] !== undefined),
      policy: cache.policy,
      quiet,
    });
    if (flags.load !== undefined) await session.load(flags.load);
    const failures = await session.run();
    if (failures > 0)
      throw new InputError(`${failures === 1 ? 'a message' : `${failures} messages`} got no whole answer`);
  } finally {
    await model.dispose();
  }
}

/**
 * What no message could be answered with is told at once; the library says what is missing, here it is said which
 * option helps.
 */
function checkModel(model: LanguageModel, template: string | undefined): void {
  if (!model.hasTokenizer)
    throw new InputError(`${model.name} has no tokenizer.json, which a conversation needs; add the file`);
  if (template === undefined && !model.chatTemplate)
    throw new InputError(
      `${model.name} has no chat template: it was probably not trained on conversations. Use its chat-tuned sibling, name a ` +
        'template with --template FILE, or write with keyhold generate',
    );
  if (template === undefined) checkTemplate(model.chatTemplate!);
}

/** @throws TokenizerError where it is no template. */
function checkTemplate(template: MessageTemplate): void {
  try {
    template.render([{ role: 'user', content: '' }]);
  } catch (error) {
    // What a template thinks of messages is told when there are some.
    if (error instanceof TokenizerError) throw error;
  }
}

async function readTemplate(path: string): Promise<string> {
  const template = await readGivenFile(path, `--template ${path}`);
  try {
    checkTemplate(new ChatTemplate(template));
    return template;
  } catch (cause) {
    if (cause instanceof TokenizerError) throw new UsageError(`--template ${path}: ${cause.message}`, { cause });
    throw cause;
  }
}

function readTemplateOption(text: string, before: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const [, name, value] = /^([a-zA-Z_]\w*)=(.*)$/s.exec(text) ?? [];
  if (name === undefined)
    throw new InvalidArgumentError('It must be a name and a value, such as enable_thinking=false.');
  const read =
    value === 'true'
      ? true
      : value === 'false'
        ? false
        : value !== '' && !Number.isNaN(Number(value))
          ? Number(value)
          : value;
  return { ...before, [name]: read };
}
