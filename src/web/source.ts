/**
 * @file Where a model in a browser comes from: files that were chosen or dropped, or a folder on a server.
 */
import { checkpointFromBlobs } from '../checkpoint/from-blobs.ts';
import { MODEL_FILES } from '../checkpoint/model-files.ts';
import { parseShardIndex, SHARD_INDEX_FILE } from '../checkpoint/shard-index.ts';
import type { Checkpoint } from '../checkpoint/types.ts';
import { CheckpointError } from '../util/errors.ts';
import { type FetchProgress, ProgressMeter } from './progress.ts';

/** A model as it goes to the worker, but for models of the hub. */
export type FileSource =
  | { readonly kind: 'folder'; readonly url: string }
  | { readonly kind: 'files'; readonly name: string; readonly files: ReadonlyMap<string, Blob> };

export interface FetchOptions {
  readonly onProgress?: (progress: FetchProgress) => void;
  readonly signal?: AbortSignal;
}

/** @throws CheckpointError where a file is missing or damaged; the signal's reason. */
export async function openSource(source: FileSource, options: FetchOptions): Promise<Checkpoint> {
  if (source.kind === 'files') return checkpointFromBlobs(source.files, source.name);
  return checkpointFromBlobs(await fetchFolder(source.url, options), source.url);
}

/** The files of a checkpoint in a folder of a server, or a single .gguf file. */
async function fetchFolder(url: string, { onProgress, signal }: FetchOptions): Promise<ReadonlyMap<string, Blob>> {
  const files = new Map<string, Blob>();
  const done: Fetched = { bytes: 0, meter: new ProgressMeter(0, (progress) => onProgress?.(progress)) };
  const get = async (folder: string, file: string): Promise<boolean> => {
    const where = `${folder}${file}`;
    const blob = await fetchBlob(where, signal, done, file);
    if (blob) files.set(file, new File([blob], file, { lastModified: 0 }));
    return blob !== null;
  };
  const need = async (folder: string, file: string): Promise<void> => {
    if (!(await get(folder, file))) throw new CheckpointError(`${folder}${file}: the server does not have this file`);
  };
  if (/\.gguf$/i.test(url)) {
    const cut = url.lastIndexOf('/') + 1;
    await need(url.slice(0, cut), url.slice(cut));
    return files;
  }
  const folder = url.endsWith('/') ? url : `${url}/`;
  const [config, ...optional] = MODEL_FILES;
  await need(folder, config);
  for (const file of optional) await get(folder, file);
  if (await get(folder, SHARD_INDEX_FILE)) {
    const shards = parseShardIndex(await files.get(SHARD_INDEX_FILE)!.text(), `${folder}${SHARD_INDEX_FILE}`);
    for (const shard of new Set(shards.values())) await need(folder, shard);
  } else await need(folder, 'model.safetensors');
  return files;
}

/** Of a download, that wait in the memory of the page's process; the browser keeps what is in a `Blob`. */
const PART_BYTES = 16 << 20;

interface Fetched {
  bytes: number;
  readonly meter: ProgressMeter;
}

/** null: there is no such file. A server of a page may answer with the page itself, which is none of the files. */
async function fetchBlob(
  url: string,
  signal: AbortSignal | undefined,
  done: Fetched,
  file: string,
): Promise<Blob | null> {
  let response: Response;
  try {
    response = await fetch(url, { signal });
  } catch (cause) {
    signal?.throwIfAborted();
    throw new CheckpointError(`${url}: can't be fetched (${(cause as Error).message}); is the address right?`, {
      cause,
    });
  }
  if (response.status === 404 || response.headers.get('content-type')?.startsWith('text/html')) {
    await response.body?.cancel();
    return null;
  }
  if (!response.ok || !response.body) throw new CheckpointError(`${url}: the server answered ${response.status}`);
  // The length of a compressed answer is not that of its bytes here; some servers tell none.
  const announced = response.headers.has('content-encoding') ? 0 : Number(response.headers.get('content-length') ?? 0);
  done.meter.total += announced;
  const parts: Blob[] = [];
  let chunks: Uint8Array<ArrayBuffer>[] = [];
  let waiting = 0;
  let bytes = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done: ended, value } = await reader.read().catch((cause) => {
      signal?.throwIfAborted();
      throw new CheckpointError(`${url}: the connection broke after ${bytes} bytes (${cause.message}); load it again`, {
        cause,
      });
    });
    if (ended) return new Blob([...parts, ...chunks]);
    chunks.push(value as Uint8Array<ArrayBuffer>);
    waiting += value.byteLength;
    if (waiting >= PART_BYTES) {
      parts.push(new Blob(chunks));
      chunks = [];
      waiting = 0;
    }
    bytes += value.byteLength;
    done.bytes += value.byteLength;
    if (bytes > announced) done.meter.total += Math.min(value.byteLength, bytes - announced);
    done.meter.tell(done.bytes, file);
  }
}
