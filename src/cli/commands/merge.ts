/**
 * @file `keyhold merge`: a model with adapters merged into it, as a checkpoint that other libraries load too.
 */
import { type Command, Option } from 'commander';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import {
  type AdapterFlag,
  adapterOption,
  addHubOptions,
  type HubFlags,
  hubOptions,
  modelOption,
  numberThat,
} from '../input/options.ts';
import { type CliIo, tell } from '../io.ts';
import { bytes, counted, duration } from '../output/format.ts';
import { Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';

interface MergeFlags extends HubFlags {
  readonly model: string;
  readonly adapter?: readonly AdapterFlag[];
  readonly shardSize?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function addMerge(program: Command, io: CliIo): void {
  const command = program
    .command('merge')
    .summary('write a model with adapters merged into it')
    .description(
      'Writes a checkpoint with adapters merged into its weights, which other libraries can load. ' +
        'The folder appears when it is complete. Then its path is printed.',
    )
    .argument('<folder>', 'where to write: a folder that is not there yet, or is empty')
    .addOption(modelOption())
    .addOption(adapterOption())
    .addOption(
      new Option('--shard-size <GB>', 'most gigabytes of one file (default: 5)').argParser(
        numberThat('above 0', (value) => value > 0),
      ),
    )
    .option('--json', 'print one JSON object: folder, bytes, tensors')
    .option('-q, --quiet', 'print the folder only');
  addHubOptions(command);
  addExamples(command, [
    ['a LoRA into its base', 'keyhold merge -m org/name --adapter tuned merged'],
    ['half of each of two', 'keyhold merge -m org/name --adapter a=0.5 --adapter b=0.5 merged'],
  ]);
  command.action((folder: string, flags: MergeFlags) => merge(folder, flags, io));
}

async function merge(out: string, flags: MergeFlags, io: CliIo): Promise<void> {
  const { model, adapter = [], shardSize, quiet } = flags;
  if (adapter.length === 0) throw new UsageError('name what to merge with --adapter');
  const { mergeAdapters } = await import('../../load/load-model-node.ts');
  const progress = new Progress(io, quiet);
  const begin = performance.now();
  try {
    const result = await mergeAdapters(model, adapter, out, {
      hub: hubOptions(flags, progress),
      maxShardBytes: shardSize && shardSize * 1e9,
      signal: io.signal,
      onProgress: ({ bytes: done, total }) => progress.update({ label: 'Writing', done, total, unit: 'bytes' }),
    });
    progress.end();
    const { folder, bytes: size, tensors } = result;
    const facts = `${counted(tensors, 'tensor')}, ${bytes(size)}, in ${duration(performance.now() - begin)}`;
    if (!quiet) tell(io, styleOf(io.stderr, io.env).dim(facts));
    io.stdout.write(flags.json ? `${JSON.stringify({ folder, bytes: size, tensors })}\n` : `${folder}\n`);
  } finally {
    progress.end();
  }
}
