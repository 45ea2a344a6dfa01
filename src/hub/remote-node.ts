/**
 * @file GGUF models of the hub without a download: their headers are read by requests for ranges.
 */
import { basename } from 'node:path';
import type { CheckpointFiles } from '../checkpoint/checkpoint.ts';
import { isGguf } from '../checkpoint/gguf/shards.ts';
import type { ByteSource } from '../checkpoint/types.ts';
import { CheckpointError, HubError } from '../util/errors.ts';
import type { HubFile } from './files.ts';
import { type HubHttp, HubUnreachableError } from './http.ts';
import { type HubDownloadOptions, openHub } from './hub-node.ts';
import { commitOf, filesOf, fileUrl } from './listing.ts';
import { checkHubNames, hubGguf } from './names.ts';
import { readRange } from './range.ts';

/** A GGUF model on the hub. */
export interface RemoteGguf {
  readonly files: CheckpointFiles;
  /** The file, or the first shard. */
  readonly file: string;
}

/**
 * Gives a GGUF model of the hub to `use`. Only what `use` reads is fetched; nothing is stored.
 * @param model `org/name:Q4_K_M`, `org/name/file.gguf`, or a repository of GGUF models.
 * @returns null where the repository holds a checkpoint of another kind.
 * @throws HubError as a download does, and where the server sends no ranges; what `use` throws.
 */
export async function withRemoteGguf<T>(
  model: string,
  options: HubDownloadOptions,
  use: (remote: RemoteGguf) => Promise<T>,
): Promise<T | null> {
  const named = hubGguf(model);
  const id = named?.id ?? model;
  const { revision = 'main' } = options;
  checkHubNames(id, revision);
  const { http, close } = await openHub(options);
  try {
    const commit = await commitOf(http, id, revision);
    const listed = await filesOf(http, { id, commit, gguf: named?.gguf }, async ({ path }) => {
      throw new HubError(`${id}: ${path} was not expected beside a GGUF model`);
    }).catch((error: unknown) => {
      if (named === null && error instanceof HubError && !(error instanceof HubUnreachableError)) return [];
      throw error;
    });
    if (!listed.some(({ path }) => isGguf(path))) return null;
    const sources = new Map(
      listed.map((file) => [basename(file.path), rangeSource(http, { id, revision, commit }, file)]),
    );
    const files: CheckpointFiles = {
      name: model,
      list: async () => [...sources.keys()],
      open: async (name) => sources.get(name),
    };
    return await use({ files, file: basename(listed[0].path) });
  } finally {
    await close();
  }
}

interface Snapshot {
  readonly id: string;
  readonly revision: string;
  readonly commit: string;
}

/** Bytes of a file of the hub. What was read of its beginning is not fetched again. */
function rangeSource(http: HubHttp, { id, revision, commit }: Snapshot, file: HubFile): ByteSource {
  const url = fileUrl(http, id, commit, file.path);
  const subject = { id, revision, file: file.path };
  const name = `${id}/${file.path}`;

  const fetched = (offset: number, length: number) => readRange(http, { url, subject, name }, offset, length);
  let head = new Uint8Array(0);
  return {
    name,
    size: file.size,
    stamp: `${name}@${file.etag}`,
    isRemote: true,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= file.size))
        throw new CheckpointError(
          `${name}: ${length} bytes at ${offset} were asked for, but it has ${file.size} bytes`,
        );
      if (offset === 0 && length > head.length) {
        const longer = new Uint8Array(length);
        longer.set(head);
        longer.set(await fetched(head.length, length - head.length), head.length);
        head = longer;
      }
      return offset + length <= head.length ? head.slice(offset, offset + length) : fetched(offset, length);
    },
    close: async () => undefined,
  };
}
