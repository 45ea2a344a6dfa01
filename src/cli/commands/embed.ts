/**
 * @file `keyhold embed`: vectors of texts, one line of JSON each.
 */
import { type Command, Option } from 'commander';
import { POOLINGS, type Pooling } from '../../embed/pooling.ts';
import { InputError } from '../../index.ts';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import { addHubOptions, addLoadOptions, type LoadFlags, wholeFrom, withModel } from '../input/options.ts';
import { readText } from '../input/prompt.ts';
import { type CliIo, write } from '../io.ts';
import { loadEncoderForCommand } from '../models/load.ts';
import { Progress } from '../output/progress.ts';

interface EmbedFlags extends Omit<LoadFlags, 'liveAdapters'> {
  readonly file?: string;
  readonly pooling?: Pooling;
  readonly normalize: boolean;
  readonly dimensions?: number;
  readonly prompt?: string;
  readonly promptName?: string;
  readonly batchSize?: number;
}

export function addEmbed(program: Command, io: CliIo): void {
  const command = program
    .command('embed')
    .summary('make vectors of texts')
    .description(
      'Makes a vector of each text, for search and comparison. Each result is a line of JSON: {"index": 0, "embedding": [...]}. ' +
        'Encoders (BERT and others) and decoders made of attention can embed.',
    )
    .argument('[model]', 'a folder, a .safetensors or .gguf file, or a name on the hub; the same as --model')
    .argument('[text...]', 'the texts; without texts, the lines of --file, or of stdin')
    .addOption(new Option('--file <file>', 'one text a line; empty lines are left out'))
    .addOption(
      new Option(
        '--pooling <name>',
        'how the states of the tokens become one vector (default: as the model says)',
      ).choices(POOLINGS),
    )
    .addOption(new Option('--no-normalize', 'leave the length of vectors as it is'))
    .addOption(
      new Option(
        '--dimensions <n>',
        'keep the first n numbers of a vector, for models that were trained for it (Matryoshka)',
      ).argParser(wholeFrom(1)),
    )
    .addOption(new Option('--prompt <text>', 'a text to put before each text, such as "query: "'))
    .addOption(new Option('--prompt-name <name>', "one of the model's own prompts"))
    .addOption(new Option('--batch-size <n>', 'texts that are computed at once (default: 32)').argParser(wholeFrom(1)));
  addLoadOptions(command, { liveAdapters: false });
  addHubOptions(command);
  addExamples(command, [
    ['two texts, with the small model', 'keyhold embed keyhold/tiny "In the beginning" "The end of days"'],
    ['a file, with a model that was trained for it', 'keyhold embed BAAI/bge-small-en-v1.5 --file lines.txt'],
  ]);
  command.action(async (argument: string | undefined, texts: readonly string[], flags: EmbedFlags) => {
    // With --model, all arguments are texts.
    const named = command.getOptionValueSource('model') === 'cli';
    const all = named && argument !== undefined ? [argument, ...texts] : texts;
    await embed(named ? flags : withModel(command, argument, flags), all, io);
  });
}

async function embed(flags: EmbedFlags, given: readonly string[], io: CliIo): Promise<void> {
  const { pooling, normalize, dimensions, prompt, promptName, batchSize } = flags;
  const texts = await textsOf(given, flags.file, io);
  const model = await loadEncoderForCommand(flags, io, new Progress(io));
  try {
    const vectors = await model.embed(texts, {
      pooling,
      // true is the default of the flag, and leaves it to the model.
      normalize: normalize ? undefined : false,
      dimensions,
      prompt,
      promptName,
      batchSize,
      signal: io.signal,
    });
    for (const [index, vector] of vectors.entries())
      await write(io, `${JSON.stringify({ index, embedding: [...vector] })}\n`);
  } finally {
    await model.dispose();
  }
}

/** @throws UsageError where there are none, or texts and a file. */
export async function textsOf(
  given: readonly string[],
  file: string | undefined,
  io: CliIo,
): Promise<readonly string[]> {
  if (given.length > 0 && file !== undefined) throw new UsageError('there are texts and a --file; give one of them');
  if (given.length > 0) return given;
  if (file === undefined && io.stdin.isTTY)
    throw new UsageError('there are no texts: give them after the model, name a --file, or pipe them in');
  const lines = (await readText(file ?? '-', 'text', io)).split(/\r?\n/).filter((line) => line !== '');
  if (lines.length === 0) throw new InputError(`${file ?? 'stdin'} has no texts: one a line`);
  return lines;
}
