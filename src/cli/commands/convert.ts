/**
 * @file `keyhold convert`: a model in another format, GGUF or safetensors.
 */
import { type Command, Option } from 'commander';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import { type AdapterFlag, adapterOption, addHubOptions, type HubFlags, hubOptions } from '../input/options.ts';
import { type CliIo, tell } from '../io.ts';
import { bytes, counted, duration } from '../output/format.ts';
import { Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';

const FORMATS = ['f32', 'f16', 'bf16', 'q8_0', 'q4_0'] as const;

interface ConvertFlags extends HubFlags {
  readonly weights: (typeof FORMATS)[number];
  readonly adapter?: readonly AdapterFlag[];
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function addConvert(program: Command, io: CliIo): void {
  const command = program
    .command('convert')
    .summary('write a model as GGUF, or as safetensors')
    .description(
      'Writes a model in another format. If the output ends with .gguf, it is one GGUF file, which llama.cpp loads too. Otherwise it ' +
        'is a folder of safetensors with plain floats. It appears when it is complete. Then its path is printed.',
    )
    .argument('<model>', 'what to convert: a folder, a file, or a name on the hub')
    .argument('<out>', 'where to write: FILE.gguf, or a folder; neither may exist')
    .addOption(new Option('--weights <format>', 'how matrices are stored').choices(FORMATS).default('f16'))
    .addOption(adapterOption())
    .option('--json', 'print one JSON object: path, bytes, tensors')
    .option('-q, --quiet', 'print the path only');
  addHubOptions(command);
  addExamples(command, [
    ['for llama.cpp, in 4 bits', 'keyhold convert org/name model.gguf --weights q4_0'],
    ['with an adapter merged', 'keyhold convert org/name tuned.gguf --adapter tuned --weights q8_0'],
    ['back to safetensors', 'keyhold convert model.gguf folder --weights bf16'],
  ]);
  command.action((model: string, out: string, flags: ConvertFlags) => convert(model, out, flags, io));
}

async function convert(model: string, out: string, flags: ConvertFlags, io: CliIo): Promise<void> {
  const { weights, adapter = [], quiet } = flags;
  const isGguf = out.toLowerCase().endsWith('.gguf');
  if (/\.(safetensors|bin|ggml|pt|pth|onnx|json)$/i.test(out))
    throw new UsageError(`${out} is named like a file: name a file that ends with .gguf, or a folder for safetensors`);
  if (!isGguf && adapter.length > 0)
    throw new UsageError('adapters are merged into safetensors by keyhold merge; name a .gguf file for GGUF');
  const { openCheckpoint } = await import('../../load/load-model-node.ts');
  const progress = new Progress(io, quiet);
  const begin = performance.now();
  const checkpoint = await openCheckpoint(model, { hub: hubOptions(flags, progress), signal: io.signal });
  const options = {
    weights,
    signal: io.signal,
    onProgress: ({ bytes: done, total }: { bytes: number; total: number }) =>
      progress.update({ label: 'Writing', done, total, unit: 'bytes' }),
  };
  try {
    let result: { path: string; bytes: number; tensors: number };
    if (isGguf) {
      const { writeGguf } = await import('../../load/convert/convert-node.ts');
      const { file, ...facts } = await writeGguf(checkpoint, out, { ...options, adapters: adapter });
      result = { path: file, ...facts };
    } else {
      const { writePlain } = await import('../../load/convert/to-safetensors-node.ts');
      const { folder, ...facts } = await writePlain(checkpoint, out, options);
      result = { path: folder, ...facts };
    }
    progress.end();
    const facts = `${counted(result.tensors, 'tensor')}, ${bytes(result.bytes)}, in ${duration(performance.now() - begin)}`;
    if (!quiet) tell(io, styleOf(io.stderr, io.env).dim(facts));
    io.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${result.path}\n`);
  } finally {
    progress.end();
    await checkpoint.close();
  }
}
