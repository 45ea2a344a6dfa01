/**
 * @file `keyhold rerank`: texts in the order of how well they answer a query, one line of JSON each.
 */
import { type Command, Option } from 'commander';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import { addHubOptions, addLoadOptions, type LoadFlags, wholeFrom } from '../input/options.ts';
import { type CliIo, write } from '../io.ts';
import { loadRerankerForCommand } from '../models/load.ts';
import { Progress } from '../output/progress.ts';
import { textsOf } from './embed.ts';

interface RerankFlags extends Omit<LoadFlags, 'liveAdapters'> {
  readonly file?: string;
  readonly instruction?: string;
  readonly top?: number;
  readonly batchSize?: number;
}

export function addRerank(program: Command, io: CliIo): void {
  const command = program
    .command('rerank')
    .summary('order texts by how well they answer a query')
    .description(
      'Orders texts by how well they answer a query, the best first. Each result is a line of JSON: ' +
        '{"index": 0, "score": 0.98, "text": "..."}. Encoders with a head for ranking (such as BAAI/bge-reranker-v2-m3) ' +
        'and Qwen3-Reranker can rank.',
    )
    .argument('<query>', 'the query')
    .argument('[text...]', 'the texts; without texts, the lines of --file, or of stdin')
    .addOption(new Option('--file <file>', 'one text a line; empty lines are left out'))
    .addOption(new Option('--instruction <text>', 'what counts as an answer, for models that read an instruction'))
    .addOption(new Option('--top <n>', 'only the best n texts').argParser(wholeFrom(1)))
    .addOption(new Option('--batch-size <n>', 'texts that are computed at once (default: 32)').argParser(wholeFrom(1)));
  addLoadOptions(command, { liveAdapters: false });
  addHubOptions(command);
  addExamples(command, [
    [
      'the best line of a file',
      'keyhold rerank -m BAAI/bge-reranker-v2-m3 "What was the ark made of?" --file lines.txt --top 1',
    ],
  ]);
  command.action(async (query: string, given: readonly string[], flags: RerankFlags) => {
    if (command.getOptionValueSource('model') === 'default')
      throw new UsageError(
        "the small model can't rank texts: name a model that can with --model, such as BAAI/bge-reranker-v2-m3 or Qwen/Qwen3-Reranker-0.6B",
      );
    const texts = await textsOf(given, flags.file, io);
    const { instruction, batchSize, top = texts.length } = flags;
    const reranker = await loadRerankerForCommand(flags, io, new Progress(io));
    try {
      const ranked = await reranker.rerank(query, texts, { instruction, batchSize, signal: io.signal });
      for (const { index, score } of ranked.slice(0, top))
        await write(io, `${JSON.stringify({ index, score, text: texts[index] })}\n`);
    } finally {
      await reranker.dispose();
    }
  });
}
