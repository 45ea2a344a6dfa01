/**
 * @file A checkpoint from Blobs: files chosen, dropped or fetched in a browser.
 */
import { blobSource, checkBlobs } from './blob-source.ts';
import { isGguf } from './gguf/shards.ts';
import { checkpointFromFiles } from './open.ts';
import type { Checkpoint } from './types.ts';

/**
 * Builds a checkpoint from files by name. Where a folder was chosen, the names may be paths within it
 * (`webkitRelativePath`): the files beside its config.json (or its .gguf file) count.
 *
 * The identity follows names, sizes, headers and modification times (of Files): the bytes are not read for it.
 *
 * @param name - For messages.
 * @throws CheckpointError as `buildCheckpoint` does; InputError for what is no Map of Blobs.
 */
export async function checkpointFromBlobs(files: ReadonlyMap<string, Blob>, name = 'files'): Promise<Checkpoint> {
  checkBlobs('checkpointFromBlobs', files);
  const prefix = folderOfConfig([...files.keys()]);
  const names = [...files.keys()].filter((file) => file.startsWith(prefix)).map((file) => file.slice(prefix.length));
  return checkpointFromFiles({
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
  const modules = names.find((file) => /(^|\/)modules\.json$/.test(file));
  if (modules !== undefined) return modules.slice(0, -'modules.json'.length);
  const configs = names.filter((file) => file.endsWith('/config.json'));
  // A GGUF file needs no config.json.
  const main = (configs.length > 0 ? configs : names.filter(isGguf)).sort(
    (a, b) => a.split('/').length - b.split('/').length,
  )[0];
  return main === undefined ? '' : main.slice(0, main.lastIndexOf('/') + 1);
}
