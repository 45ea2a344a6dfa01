/**
 * @file A model of the hub in a browser: downloaded once, prepared once, and kept as prepared weights without its checkpoint.
 */
import { blobSource } from '../checkpoint/blob-source.ts';
import { checkpointFromFiles } from '../checkpoint/open.ts';
import type { ByteSource, Checkpoint } from '../checkpoint/types.ts';
import type { HubFile } from '../hub/files.ts';
import { HubHttp, isTransient } from '../hub/http.ts';
import { commitOf } from '../hub/listing.ts';
import { checkHubNames, hubGguf } from '../hub/names.ts';
import type { PrepareRequest } from '../load/model-plan.ts';
import { CheckpointError } from '../util/errors.ts';
import type { WeightCodec } from '../weights/codec.ts';
import type { WeightProgress } from '../weights/prepare.ts';
import type { PreparedWeights } from '../weights/types.ts';
import { downloadFiles, type HubModelId, listFiles, storedName } from './hub-download.ts';
import { Outline } from './outline.ts';
import { openPreparedFiles } from './prepared-files.ts';
import type { FetchProgress } from './progress.ts';
import { readFile, readJson, removeFile, writeFile } from './storage.ts';
import { type ModelNote, NOTE_FILE, openModelFolder, useLock, writeLock } from './stored-models.ts';

/** A model of the hub as it goes to the worker. */
export interface HubSource {
  readonly kind: 'hub';
  /** `org/name`, or a GGUF model: `org/name:Q4_K_M`, `org/name/file.gguf`. */
  readonly hub: string;
  readonly revision: string;
  readonly endpoint: string;
  readonly token?: string;
}

export interface HubModelOptions {
  readonly signal?: AbortSignal;
  readonly onProgress: (progress: FetchProgress) => void;
}

interface PrepareOptions {
  readonly codec: WeightCodec;
  readonly signal?: AbortSignal;
  readonly onProgress: (progress: WeightProgress) => void;
}

/** A model of the hub, and its prepared weights. */
export interface HubModel {
  readonly checkpoint: Checkpoint;
  prepare(request: PrepareRequest, options: PrepareOptions): Promise<PreparedWeights>;
}

/** Weight files are dropped when the weights are prepared. */
const isWeights = (path: string): boolean => /\.(safetensors|gguf)$/i.test(path);
const outlineName = (path: string): string => `outline ${encodeURIComponent(path)}`;

/**
 * Runs with a model of the hub. Tabs that load the same model wait for each other, and all but the first find it prepared.
 * @throws HubError, CheckpointError, WeightsError; the signal's reason.
 */
export async function withHubModel<T>(
  source: HubSource,
  options: HubModelOptions,
  run: (model: HubModel) => Promise<T>,
): Promise<T> {
  const { hub } = source;
  const { id, gguf } = hubGguf(hub) ?? { id: hub, gguf: undefined };
  checkHubNames(id, source.revision);
  const { signal } = options;
  // Held until the worker ends: what it reads is not deleted.
  await new Promise<void>((held, failed) => {
    navigator.locks
      .request(useLock(hub), { mode: 'shared', signal }, () => {
        held();
        return new Promise(() => {});
      })
      .catch(failed);
  });
  return navigator.locks.request(writeLock(hub), { signal }, async () => {
    const http = new HubHttp({
      ...{ endpoint: source.endpoint.replace(/\/$/, ''), token: source.token, signal },
      ...{ retries: 5, retryDelayMs: 500, stallMs: 60_000, redirects: 'browser' },
    });
    const folder = await openModelFolder(hub);
    const note = await currentNote(http, folder, { source, id, gguf }, options);
    return run(await openStored(new StoredHubModel(http, folder, { id, gguf, commit: note.commit }, note, options)));
  });
}

/** The note of the model at its present commit; its files are there, or their outlines. */
async function currentNote(
  http: HubHttp,
  folder: FileSystemDirectoryHandle,
  { source, id, gguf }: { source: HubSource; id: string; gguf?: string },
  { onProgress }: HubModelOptions,
): Promise<ModelNote> {
  const stored = await readJson<ModelNote>(folder, NOTE_FILE);
  let commit: string;
  try {
    commit = await commitOf(http, id, source.revision);
  } catch (error) {
    // Without a network the model of yesterday is better than none.
    if (stored && isTransient(error)) return stored;
    throw error;
  }
  if (stored?.commit === commit) return stored;
  const model = { id, gguf, commit };
  const files = await listFiles(http, folder, model);
  await downloadFiles(http, folder, model, files, onProgress);
  const note: ModelNote = { hub: source.hub, commit, files };
  await removeOthers(folder, new Set(files.map(storedName)));
  await writeFile(folder, NOTE_FILE, JSON.stringify(note));
  return note;
}

/** Removes the files of other commits, and what was made of them. */
async function removeOthers(folder: FileSystemDirectoryHandle, wanted: ReadonlySet<string>): Promise<void> {
  const names: string[] = [];
  for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name);
  for (const name of names) if (!wanted.has(name)) await removeFile(folder, name);
}

/** The files of a model in the storage; weight files may be there as outlines. */
class StoredHubModel {
  readonly note: ModelNote;
  readonly folder: FileSystemDirectoryHandle;
  /** What was read of weight files that are there. */
  readonly recorded = new Map<string, Outline>();
  isOpening = true;
  readonly #http: HubHttp;
  readonly #model: HubModelId;
  readonly #options: HubModelOptions;

  constructor(
    http: HubHttp,
    folder: FileSystemDirectoryHandle,
    model: HubModelId,
    note: ModelNote,
    options: HubModelOptions,
  ) {
    this.#http = http;
    this.folder = folder;
    this.#model = model;
    this.note = note;
    this.#options = options;
  }

  get id(): string {
    return this.#model.id;
  }

  /** Names in the checkpoint: a GGUF model may be in a folder of the repository. */
  nameOf(path: string): string {
    return this.#model.gguf === undefined ? path : path.slice(path.lastIndexOf('/') + 1);
  }

  async open(wanted: string): Promise<ByteSource | undefined> {
    const file = this.note.files.find(({ path }) => this.nameOf(path) === wanted);
    if (!file) return undefined;
    const { path } = file;
    const name = `${this.id}: ${path}`;
    const stamp = `${this.id}@${this.note.commit}/${path}`;
    const stored = await readFile(this.folder, storedName(file));
    if (stored?.size === file.size) {
      const source = { ...blobSource(stored, name), stamp };
      if (!isWeights(path)) return source;
      const outline = new Outline();
      this.recorded.set(path, outline);
      return outline.record(source, () => this.isOpening);
    }
    const kept = await readFile(this.folder, outlineName(path));
    if (!kept) throw new CheckpointError(`${name}: is not in the browser's storage any more; delete the model`);
    const outline = Outline.fromBytes(new Uint8Array(await kept.arrayBuffer()));
    let whole: Promise<ByteSource> | null = null;
    const read = async (offset: number, length: number) => {
      const bytes = outline.get(offset, length);
      if (bytes) return bytes;
      // Another weight format is wanted than the one that was prepared: the checkpoint is needed again.
      whole ??= this.#downloadAgain(file, name);
      return (await whole).read(offset, length);
    };
    return { name, stamp, size: file.size, read, close: async () => {} };
  }

  async #downloadAgain(file: HubFile, name: string): Promise<ByteSource> {
    await downloadFiles(this.#http, this.folder, this.#model, [file], this.#options.onProgress);
    return blobSource((await readFile(this.folder, storedName(file)))!, name);
  }

  /** Replaces weight files by their outlines. */
  async dropWeights(): Promise<void> {
    for (const [path, outline] of this.recorded) await writeFile(this.folder, outlineName(path), outline.toBytes());
    for (const file of this.note.files) if (isWeights(file.path)) await removeFile(this.folder, storedName(file));
  }
}

async function openStored(stored: StoredHubModel): Promise<HubModel> {
  const checkpoint = await checkpointFromFiles({
    name: stored.id,
    list: async () => stored.note.files.map(({ path }) => stored.nameOf(path)).filter((name) => !name.includes('/')),
    open: (path) => stored.open(path),
  });
  await checkpoint.fingerprint();
  stored.isOpening = false;
  return {
    checkpoint,
    async prepare(request, options) {
      const weights = await openPreparedFiles(request, { folder: stored.folder, ...options });
      await stored.dropWeights();
      return weights;
    },
  };
}
