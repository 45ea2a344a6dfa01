/**
 * @file An adapter from Blobs: files chosen, dropped or fetched in a browser.
 */
import { blobSource, checkBlobs } from '../../checkpoint/blob-source.ts';
import type { OpenAdapter } from './adapter-files.ts';
import { openAdapter } from './open-adapter.ts';

/**
 * Opens an adapter from files by name.
 * @param name for messages.
 * @throws AdapterError, CheckpointError as {@link openAdapter} does; InputError for what is no Map of Blobs.
 */
export async function adapterFromBlobs(files: ReadonlyMap<string, Blob>, name = 'adapter'): Promise<OpenAdapter> {
  checkBlobs('adapterFromBlobs', files);
  return openAdapter({
    name,
    list: async () => [...files.keys()],
    async open(file) {
      const blob = files.get(file);
      return blob === undefined ? undefined : blobSource(blob, `${name}: ${file}`);
    },
  });
}
