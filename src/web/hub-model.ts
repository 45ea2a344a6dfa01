/**
 * @file A model of the hub in a browser: its weights are prepared while they are downloaded, and kept without the
 * checkpoint.
 */
import { blobSource } from '../checkpoint/blob-source.ts';
import { checkpointFromFiles } from '../checkpoint/open.ts';
import type { ByteSource, Checkpoint } from '../checkpoint/types.ts';
import type { HubFile } from '../hub/files.ts';
import { HubHttp, isTransient } from '../hub/http.ts';
import { commitOf, fileUrl } from '../hub/listing.ts';
import { checkHubNames, hubGguf } from '../hub/names.ts';
import type { PrepareRequest } from '../load/model-plan.ts';
import { CheckpointError } from '../util/errors.ts';
import type { WeightCodec } from '../weights/codec.ts';
import type { PreparedWeights } from '../weights/types.ts';
import { downloadFiles, type HubModelId, listFiles, storedName } from './hub-download.ts';
import { Outline } from './outline.ts';
import { openPreparedFiles } from './prepared-files.ts';
import { type FetchProgress, ProgressMeter } from './progress.ts';
import { readFile, readJson, removeFile, writeFile } from './storage.ts';
import { type ModelNote, NOTE_FILE, openModelFolder, removeEmptyFolder, useLock, writeLock } from './stored-models.ts';
import { StreamedFile } from './streamed-file.ts';
import { WeightDownload } from './weight-download.ts';

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
}

/** A model of the hub, and its prepared weights. */
export interface HubModel {
  readonly checkpoint: Checkpoint;
  prepare(request: PrepareRequest, options: PrepareOptions): Promise<PreparedWeights>;
}

/** Weight files are read while they are downloaded; all others are stored. */
const isWeights = (path: string): boolean => /\.(safetensors|gguf)$/i.test(path);
const outlineName = (path: string): string => `outline ${encodeURIComponent(path)}`;

/**
 * Runs with a model of the hub. Tabs that load the same model wait for each other, and all but the first find it
 * prepared.
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
    const { note, meter } = await currentNote(http, folder, { source, id, gguf }, options).catch(async (error) => {
      // A name that the hub does not have is none of the stored models.
      await removeEmptyFolder(hub);
      throw error;
    });
    const stored = new StoredHubModel(http, folder, { id, gguf, commit: note.commit }, note, meter);
    try {
      return await run(await openStored(stored));
    } finally {
      for (const file of stored.weights.values()) await file.close();
    }
  });
}

/** The note of the model at its present commit, whose small files are there. */
async function currentNote(
  http: HubHttp,
  folder: FileSystemDirectoryHandle,
  { source, id, gguf }: { source: HubSource; id: string; gguf?: string },
  { onProgress }: HubModelOptions,
): Promise<{ note: ModelNote; meter: ProgressMeter }> {
  const meterOf = (files: readonly HubFile[]) => new ProgressMeter(bytesOf(files), onProgress);
  const stored = await readJson<ModelNote>(folder, NOTE_FILE);
  let commit: string;
  try {
    commit = await commitOf(http, id, source.revision);
  } catch (error) {
    // The revision that was fetched before is used where there is no network.
    if (stored && isTransient(error)) return { note: stored, meter: meterOf(stored.files) };
    throw error;
  }
  if (stored?.commit === commit) return { note: stored, meter: meterOf(stored.files) };
  const model = { id, gguf, commit };
  const files = await listFiles(http, folder, model);
  const meter = meterOf(files);
  const small = files.filter(({ path }) => !isWeights(path));
  await downloadFiles(http, folder, model, small, meter);
  const note: ModelNote = { hub: source.hub, commit, files };
  await removeOthers(folder, new Set(small.map(storedName)));
  await writeFile(folder, NOTE_FILE, JSON.stringify(note));
  return { note, meter };
}

const bytesOf = (files: readonly HubFile[]): number => files.reduce((sum, { size }) => sum + size, 0);

/** Removes the files of other commits, and what was made of them. */
async function removeOthers(folder: FileSystemDirectoryHandle, wanted: ReadonlySet<string>): Promise<void> {
  const names: string[] = [];
  for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys()) names.push(name);
  for (const name of names) if (!wanted.has(name)) await removeFile(folder, name);
}

/** The files of a model: those in the storage, and weight files, which are read from the hub. */
class StoredHubModel {
  readonly note: ModelNote;
  readonly folder: FileSystemDirectoryHandle;
  /** The weight files that were opened, by their paths. */
  readonly weights = new Map<string, StreamedFile>();
  readonly #http: HubHttp;
  readonly #model: HubModelId;
  readonly #meter: ProgressMeter;

  constructor(
    http: HubHttp,
    folder: FileSystemDirectoryHandle,
    model: HubModelId,
    note: ModelNote,
    meter: ProgressMeter,
  ) {
    this.#http = http;
    this.folder = folder;
    this.#model = model;
    this.note = note;
    this.#meter = meter;
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
    if (isWeights(path)) return this.#openWeights(file);
    const name = `${this.id}: ${path}`;
    const stored = await readFile(this.folder, storedName(file));
    if (stored?.size === file.size)
      return { ...blobSource(stored, name), stamp: `${this.id}@${this.note.commit}/${path}` };
    throw new CheckpointError(`${name}: is not in the browser's storage any more; delete the model`);
  }

  async #openWeights(file: HubFile): Promise<StreamedFile> {
    const { path } = file;
    const { id, commit } = this.#model;
    const known = this.weights.get(path);
    if (known) return known;
    const stored = bytesOf(this.note.files.filter((other) => !isWeights(other.path)));
    const opened: StreamedFile = new StreamedFile({
      ...{ http: this.#http, url: fileUrl(this.#http, id, commit, path), id, commit, file },
      outline: await this.#readOutline(path),
      onBytes: () => {
        let bytes = stored;
        for (const { have } of this.weights.values()) bytes += have;
        this.#meter.tell(bytes, path);
      },
      // Of the files before it only the end is missing.
      onRequest: () => {
        for (const before of this.weights.values()) {
          if (before === opened) break;
          before.readAll().catch(() => undefined);
        }
      },
    });
    this.weights.set(path, opened);
    return opened;
  }

  async #readOutline(path: string): Promise<Outline> {
    const kept = await readFile(this.folder, outlineName(path));
    try {
      if (kept) return Outline.fromBytes(new Uint8Array(await kept.arrayBuffer()));
    } catch {
      // Torn: what it held is read again.
    }
    return new Outline();
  }

  /** Where weights were downloaded. */
  endProgress(): void {
    const last = [...this.weights.values()].at(-1);
    if (last && last.have > 0) this.#meter.end(last.name);
  }

  readonly outlines = {
    save: async (): Promise<void> => {
      for (const [path, { outline }] of this.weights)
        await outline.save((bytes) => writeFile(this.folder, outlineName(path), bytes));
    },
    remove: async (): Promise<void> => {
      for (const path of this.weights.keys()) await removeFile(this.folder, outlineName(path));
    },
  };
}

async function openStored(stored: StoredHubModel): Promise<HubModel> {
  const opened = await checkpointFromFiles({
    name: stored.id,
    list: async () => stored.note.files.map(({ path }) => stored.nameOf(path)).filter((name) => !name.includes('/')),
    open: (path) => stored.open(path),
  });
  const files = [...stored.weights.values()];
  // A browser has few connections to a server; the first file is the one that goes on.
  for (const file of files.slice(1)) file.pause();
  for (const file of files) file.endOpening();
  const download = new WeightDownload(opened, stored.weights);
  return {
    checkpoint: download.checkpoint,
    async prepare(request, options) {
      const { folder, outlines } = stored;
      const weights = await openPreparedFiles(request, { folder, download, outlines, ...options });
      for (const file of files) await file.askForPassing();
      await outlines.save();
      stored.endProgress();
      return weights;
    },
  };
}
