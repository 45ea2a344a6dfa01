/**
 * @file `keyhold download`: a model from the hub into the cache that Python's libraries use too.
 */
import { readdir, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { shippedFolder } from '../../util/files/shipped-node.ts';
import { UsageError } from '../failure.ts';
import { addExamples } from '../help.ts';
import { addHubOptions, type HubFlags, hubOptions } from '../input/options.ts';
import { type CliIo, Interrupted, tell } from '../io.ts';
import { bytes, counted, duration } from '../output/format.ts';
import { loadProgress, Progress } from '../output/progress.ts';
import { styleOf } from '../output/style.ts';

interface DownloadFlags extends HubFlags {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function addDownload(program: Command, io: CliIo): void {
  const command = program
    .command('download')
    .summary('fetch a model from the Hugging Face hub')
    .description(
      'Fetches what a model needs from the Hugging Face hub, and prints the folder it is in. Files that are there already are ' +
        "not fetched again, and an interrupted download continues. The folder is the one that Python's libraries use: " +
        '$HF_HUB_CACHE, $HF_HOME/hub or ~/.cache/huggingface/hub.',
    )
    .argument('<model>', 'name on the hub: org/name, or org/name:Q4_K_M for a GGUF file')
    .option('--json', 'print one JSON object: folder, commit, files')
    .option('-q, --quiet', 'print the folder only');
  addHubOptions(command);
  addExamples(command, [
    ['a small model', 'keyhold download HuggingFaceTB/SmolLM2-135M'],
    ['a gated one, at a commit that never changes', 'HF_TOKEN=hf_... keyhold download org/name --revision 1a2b3c...'],
  ]);
  command.action((model: string, flags: DownloadFlags) => download(model, flags, io));
}

async function download(model: string, flags: DownloadFlags, io: CliIo): Promise<void> {
  if (shippedFolder(model) !== undefined)
    throw new UsageError(`${model} ships with keyhold: there is nothing to download`);
  const { downloadFromHub } = await import('../../node.ts');
  const progress = new Progress(io, flags.quiet);
  const report = loadProgress(progress);
  const { dim } = styleOf(io.stderr, io.env);
  const begin = performance.now();
  let fetched = false;
  let folder: string;
  try {
    folder = await downloadFromHub(model, {
      ...hubOptions(flags, progress),
      signal: io.signal,
      onProgress: (state) => {
        fetched = true;
        report({ stage: 'download', ...state });
      },
    });
  } catch (error) {
    progress.end();
    if (io.signal.reason instanceof Interrupted && !flags.quiet)
      tell(io, dim('What has come so far is kept: the same command goes on from there.'));
    throw error;
  }
  progress.end();
  const files = await listFiles(folder);
  const size = files.reduce((sum, file) => sum + file.bytes, 0);
  if (!flags.quiet) {
    const how = fetched ? `in ${duration(performance.now() - begin)}` : 'there already';
    tell(io, dim(`${model}: ${counted(files.length, 'file')}, ${bytes(size)}, ${how}`));
  }
  const result = { model, commit: basename(folder), folder, bytes: size, files };
  io.stdout.write(flags.json ? `${JSON.stringify(result)}\n` : `${folder}\n`);
}

async function listFiles(folder: string): Promise<{ name: string; bytes: number }[]> {
  const names = (await readdir(folder)).sort();
  const all = await Promise.all(names.map(async (name) => ({ name, stats: await stat(join(folder, name)) })));
  return all.filter(({ stats }) => stats.isFile()).map(({ name, stats }) => ({ name, bytes: stats.size }));
}
