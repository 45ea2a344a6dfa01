/**
 * @file A checkpoint from Blobs: files chosen, dropped or fetched in a browser.
 */
import { blobSource } from './blob-source.ts';
import { buildCheckpoint } from './checkpoint.ts';
import type { Checkpoint } from './types.ts';

/**
 * Builds a checkpoint from files by name. Where a folder was chosen, the names may be paths within it
 * (`webkitRelativePath`): the files beside its config.json count.
 *
 * The identity follows names, sizes, headers and modification times (of Files): the bytes are not read for it.
 *
 * @param name - For messages.
 * @throws CheckpointError as {@link buildCheckpoint} does.
 */
export async function checkpointFromBlobs(files: ReadonlyMap<string, Blob>, name = 'files'): Promise<Checkpoint> {
  const prefix = folderOfConfig([...files.keys()]);
  const names = [...files.keys()].filter((file) => file.startsWith(prefix)).map((file) => file.slice(prefix.length));
  return buildCheckpoint({
    name,
    list: async () => names.filter((file) => !file.includes('/')),
    async open(file) {
      const blob = files.get(prefix + file);
      return blob === undefined ? undefined : blobSource(blob, `${name}: ${file}`);
    },
  });
}

function folderOfConfig(names: readonly string[]): string {
  if (names.includes('config.json')) return '';
  const configs = names.filter((file) => file.endsWith('/config.json'));
  configs.sort((a, b) => a.split('/').length - b.split('/').length);
  return configs.length === 0 ? '' : configs[0].slice(0, -'config.json'.length);
}
