/**
 * @file Random access to a Blob or File: how a browser hands over what was dropped on the page or fetched.
 */
import { checkArgument } from '../util/arguments.ts';
import { CheckpointError, InputError } from '../util/errors.ts';
import { shown } from '../util/option-names.ts';
import type { ByteSource } from './types.ts';

/**
 * @param what the function that the files were given to.
 * @throws InputError for what is no Map of Blobs, such as a FileList.
 */
export function checkBlobs(what: string, files: ReadonlyMap<string, Blob>): void {
  const needed = 'a Map from names of files to Blobs';
  checkArgument(what, needed, files, files instanceof Map);
  for (const [name, blob] of files)
    if (!(blob instanceof Blob)) throw new InputError(`${what} needs ${needed}, but ${name} is ${shown(blob)}`);
}

/**
 * A {@link ByteSource} over `blob`. Nothing is read before it is asked for.
 *
 * @param name - For messages, e.g. `model.safetensors`.
 */
export function blobSource(blob: Blob, name: string): ByteSource {
  const modified = 'lastModified' in blob && typeof blob.lastModified === 'number' ? blob.lastModified : undefined;
  return {
    name,
    size: blob.size,
    stamp: modified === undefined ? undefined : `${name}@${modified}`,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= blob.size)) {
        throw new CheckpointError(
          `${name}: ${length} bytes at ${offset} were asked for, but it has ${blob.size} bytes`,
        );
      }
      let bytes: Uint8Array;
      try {
        bytes = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
      } catch (cause) {
        throw new CheckpointError(`${name}: can't be read any more; was the file changed or removed? Choose it again`, {
          cause,
        });
      }
      if (bytes.length !== length) {
        throw new CheckpointError(`${name}: ended early, at ${offset + bytes.length} of ${blob.size} bytes`);
      }
      return bytes;
    },
    async close() {},
  };
}
