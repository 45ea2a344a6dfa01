/**
 * @file The download of a model from the Hugging Face hub into the cache that Python's libraries use too.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HubError, InputError } from '../util/errors.ts';
import { takeFileLock } from '../util/files/file-lock-node.ts';
import { freeBytes, makeFolder } from '../util/files/files-node.ts';
import { pathFlaw } from '../util/files/relative-path.ts';
import { checkOptionNames, type OptionNames, shown } from '../util/option-names.ts';
import {
  fileSize,
  ggufInSnapshot,
  isCommit,
  linkIntoSnapshot,
  missingFromSnapshot,
  type RepoCache,
  readRef,
  repoCache,
  writeRef,
} from './cache-node.ts';
import { type HubFile, pickFiles } from './files.ts';
import { HubHttp, type HubRetry, isTransient } from './http.ts';
import { commitOf, filesOf, fileUrl, listingOf } from './listing.ts';
import { checkHubNames, hubGguf } from './names.ts';
import { proxyFetch } from './proxy-node.ts';
import { type HubSettings, type HubSettingsOptions, readHubSettings } from './settings-node.ts';
import { diskError, incompletePath, transferBlob } from './transfer-node.ts';

/** How far a download is. */
export interface HubProgress {
  /** The file that just grew. */
  readonly file: string;
  /** Bytes of this file that are there. */
  readonly fileBytes: number;
  /** Bytes that this file has when it is whole. */
  readonly fileTotal: number;
  /** Bytes that are there, of all files, including those that were there before. */
  readonly bytes: number;
  /** Bytes of all files when they are whole. */
  readonly total: number;
}

/** Options of {@link downloadFromHub}. */
export interface HubDownloadOptions extends HubSettingsOptions {
  /** Branch, tag, or commit hash. @default 'main' */
  readonly revision?: string;
  /** Sends requests in place of the global `fetch`. */
  readonly fetch?: typeof globalThis.fetch;
  /** Told of bytes as they come. */
  readonly onProgress?: (progress: HubProgress) => void;
  /** Called when the hub was not reached and another try follows. */
  readonly onRetry?: (retry: HubRetry) => void;
  /** Stops it: the call throws the signal's reason. */
  readonly signal?: AbortSignal;
  /** Exactly these files, instead of what a checkpoint needs. */
  readonly files?: readonly string[];
  /** A GGUF model instead: its quantization, such as `Q4_K_M`, or the name of its file (of its first shard). */
  readonly gguf?: string;
  /** Failures in a row after which it ends. @default 5; 2 where the hub was not reached at all */
  readonly retries?: number;
  /** Milliseconds before the first new try, doubled after each. @default 500 */
  readonly retryDelayMs?: number;
  /** Silence in milliseconds after which a connection counts as dropped. @default 60000 */
  readonly stallMs?: number;
}

const OPTIONS: OptionNames<HubDownloadOptions> = {
  cacheDir: 'string',
  token: true,
  endpoint: 'string',
  offline: 'boolean',
  env: 'object',
  revision: 'string',
  fetch: 'function',
  onProgress: 'function',
  onRetry: 'function',
  signal: 'signal',
  files: 'list',
  gguf: 'string',
  retries: 'number',
  retryDelayMs: 'number',
  stallMs: 'number',
};
/** What huggingface_hub calls them. */
const RENAMED = { local_files_only: 'offline', cache_dir: 'cacheDir', accessToken: 'token' } as const;

/**
 * The GGUF file in a folder that {@link downloadFromHub} gave; null where it is of safetensors.
 * @param gguf as in the options of the download.
 */
export async function ggufOfDownload(folder: string, gguf?: string): Promise<string | null> {
  const file = await ggufInSnapshot(folder, gguf);
  return file === undefined ? null : join(folder, file);
}

/** Progress is told at most this often, besides the end of each file. */
const PROGRESS_EVERY_MS = 50;

/**
 * Downloads what a checkpoint needs, and returns the folder it is in. What is in the cache is not downloaded again;
 * an interrupted download is continued. Without network, the cached state of the revision is used.
 *
 * The cache is `$HF_HUB_CACHE`, `$HF_HOME/hub` or `~/.cache/huggingface/hub`; the token is `$HF_TOKEN` or the one that
 * `hf auth login` stored; with `HF_HUB_OFFLINE=1` only the cache is looked at. Proxies are those of `$HTTPS_PROXY`,
 * `$HTTP_PROXY` and `$NO_PROXY`.
 *
 * @param model `org/name`, or `name` for the oldest models; of GGUF `org/name:Q4_K_M`, or `org/name/file.gguf`.
 * @returns the folder.
 * @throws InputError for an unknown option, or an id that is no text; HubError where the hub can't be reached, refuses,
 * lacks something, or sends something wrong, and where the disk is full; the signal's reason.
 * @example
 * ```ts
 * import { downloadFromHub, loadModel } from 'keyhold';
 *
 * const folder = await downloadFromHub('Qwen/Qwen3-0.6B', { onProgress: ({ bytes, total }) => console.log(bytes, total) });
 * const model = await loadModel(folder);
 * await model.dispose();
 * ```
 */
export async function downloadFromHub(model: string, options: HubDownloadOptions = {}): Promise<string> {
  if (typeof model !== 'string')
    throw new InputError(`downloadFromHub needs the id of a model, such as Qwen/Qwen3-0.6B, but got ${shown(model)}`);
  checkOptionNames('the hub', options, OPTIONS, RENAMED);
  const named = hubGguf(model);
  return download(named?.id ?? model, named ? { gguf: named.gguf, ...options } : options);
}

async function download(id: string, options: HubDownloadOptions): Promise<string> {
  const { revision = 'main', files, gguf, signal } = options;
  checkHubNames(id, revision);
  for (const file of files ?? []) {
    const flaw = pathFlaw(file);
    if (flaw !== undefined) throw new HubError(`the file name ${JSON.stringify(file)} ${flaw}`);
  }
  signal?.throwIfAborted();
  const settings = await readHubSettings(options);
  const cache = repoCache(settings.cacheDir, id);
  const cached = await findCached(cache, revision, files, gguf);
  if (settings.offline) return requireCached(cached, id, revision, settings.cacheDir, 'Offline mode is on');
  // A commit never changes, so a complete copy of it needs no question.
  if (isCommit(revision) && cached.whole) return cached.folder;

  const { http, close } = await openHub(options, settings);
  try {
    // With a usable copy in the cache a network that is down is not waited for.
    const commit = await commitOf(http, id, revision, cached.usable ? 0 : undefined);
    const known = commit === cached.commit ? cached : await findCached(cache, commit, files, gguf);
    if (!known.whole) await fetchSnapshot(http, cache, { id, revision, commit }, options);
    await writeRef(cache, revision, commit);
    return join(cache.snapshots, commit);
  } catch (error) {
    // The revision that was fetched before is used where the hub can not be asked.
    if (isTransient(error) && cached.usable) return cached.folder;
    throw diskError(error, settings.cacheDir);
  } finally {
    await close();
  }
}

/** Requests to the hub as the options have them. */
export async function openHub(
  options: HubDownloadOptions,
  known?: HubSettings,
): Promise<{ readonly http: HubHttp; close(): Promise<void> }> {
  const { endpoint, token } = known ?? (await readHubSettings(options));
  const proxy = options.fetch ? undefined : await proxyFetch(options.env ?? process.env);
  const http = new HubHttp({
    endpoint,
    token,
    fetch: options.fetch ?? proxy?.fetch,
    signal: options.signal,
    retries: options.retries ?? 5,
    // Without network people should not wait long for an error. A connection that worked is worth more tries.
    offlineRetries: options.retries ?? 2,
    retryDelayMs: options.retryDelayMs ?? 500,
    stallMs: options.stallMs ?? 60_000,
    onRetry: options.onRetry,
  });
  return { http, close: async () => proxy?.close() };
}

/** What the cache has of a revision. */
interface Cached {
  readonly commit: string | undefined;
  readonly folder: string;
  /** Has what it takes to load the model. */
  readonly usable: boolean;
  /** Has the tokenizer as well, so that there is most likely nothing left to fetch. */
  readonly whole: boolean;
  readonly missing: string | undefined;
}

async function findCached(
  cache: RepoCache,
  revision: string,
  files?: readonly string[],
  gguf?: string,
): Promise<Cached> {
  const commit = await readRef(cache, revision);
  if (commit === undefined) return { commit, folder: '', usable: false, whole: false, missing: undefined };
  const folder = join(cache.snapshots, commit);
  const found = await ggufInSnapshot(folder, gguf);
  if (gguf !== undefined || (files === undefined && found !== undefined)) {
    const there = found !== undefined;
    return { commit, folder, usable: there, whole: there, missing: there ? undefined : gguf };
  }
  const missing = await missingFromSnapshot(folder, files);
  const usable = missing === undefined;
  const whole = usable && (files !== undefined || (await fileSize(join(folder, 'tokenizer.json'))) !== undefined);
  return { commit, folder, usable, whole, missing };
}

function requireCached(cached: Cached, id: string, revision: string, cacheDir: string, why: string): string {
  if (cached.usable) return cached.folder;
  const lack = cached.missing === undefined ? '' : ` whole (it lacks ${cached.missing})`;
  throw new HubError(
    `${why}, and ${id} at revision ${revision} is not in the cache${lack}: ${cacheDir}; ` +
      'download it once, without --offline, the option "offline" and HF_HUB_OFFLINE',
  );
}

interface Snapshot {
  readonly id: string;
  readonly revision: string;
  readonly commit: string;
}

async function fetchSnapshot(
  http: HubHttp,
  cache: RepoCache,
  snapshot: Snapshot,
  options: HubDownloadOptions,
): Promise<void> {
  const { id, commit } = snapshot;
  const files =
    options.files !== undefined
      ? pickFiles(await listingOf(http, id, commit), options.files, id)
      : await filesOf(http, { id, commit, gguf: options.gguf }, async (index) => {
          // First of all, and without a word: only with it the total is known.
          await fetchFile(http, cache, snapshot, index, () => undefined);
          return readFile(join(cache.snapshots, commit, index.path), 'utf8');
        });
  await checkSpace(cache, files, id);
  const report = progressReporter(files, options.onProgress);
  for (const file of files) await fetchFile(http, cache, snapshot, file, (have) => report(file, have));
}

/** Makes sure that a file is in the cache and in the snapshot. */
async function fetchFile(
  http: HubHttp,
  cache: RepoCache,
  { id, revision, commit }: Snapshot,
  file: HubFile,
  onBytes: (have: number) => void,
): Promise<void> {
  http.options.signal?.throwIfAborted();
  const pointer = join(cache.snapshots, commit, file.path);
  const blob = join(cache.blobs, file.etag);
  if ((await fileSize(pointer)) !== file.size) {
    if ((await fileSize(blob)) !== file.size) {
      const lock = await takeFileLock(join(cache.locks, `${file.etag}.keyhold`), http.options.signal);
      try {
        // Another process may have brought it while this one waited.
        if ((await fileSize(blob)) !== file.size) {
          const url = fileUrl(http, id, commit, file.path);
          await transferBlob(http, { url, file, blob, subject: { id, revision, file: file.path }, onBytes });
        }
      } finally {
        await lock.release();
      }
    }
    await linkIntoSnapshot(blob, pointer);
  }
  onBytes(file.size);
}

/** Better to fail now than after an hour. */
async function checkSpace(cache: RepoCache, files: readonly HubFile[], id: string): Promise<void> {
  let needed = 0;
  for (const { etag, size } of files) {
    const blob = join(cache.blobs, etag);
    if ((await fileSize(blob)) !== size) needed += size - Math.min(size, (await fileSize(incompletePath(blob))) ?? 0);
  }
  await makeFolder(cache.blobs);
  const free = await freeBytes(cache.blobs);
  if (needed > free) {
    const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(2)} GB`;
    throw new HubError(
      `${id}: ${gigabytes(needed)} are to be downloaded, but the disk of ${cache.blobs} has only ${gigabytes(free)} left; ` +
        'free some space, or choose another cache folder (HF_HUB_CACHE)',
    );
  }
}

function progressReporter(
  files: readonly HubFile[],
  onProgress: HubDownloadOptions['onProgress'],
): (file: HubFile, have: number) => void {
  if (onProgress === undefined) return () => undefined;
  const total = files.reduce((sum, file) => sum + file.size, 0);
  const counted = new Map<string, number>();
  let bytes = 0;
  let lastTime = 0;
  return (file, have) => {
    const before = counted.get(file.path);
    if (before === have) return;
    bytes += have - (before ?? 0);
    counted.set(file.path, have);
    const now = performance.now();
    if (have < file.size && now - lastTime < PROGRESS_EVERY_MS) return;
    lastTime = now;
    onProgress({ file: file.path, fileBytes: have, fileTotal: file.size, bytes, total });
  };
}
