/**
 * @file The folder of prepared weights: made once per checkpoint, format and quantizer, mapped on every later open.
 *
 * An entry is a folder `weights/KEY` with `weights.bin` and `manifest.json`. Each writer has an unfinished folder of
 * its own and renames it when it is complete. The manifest holds a hash of samples of every tensor, which is checked at
 * every open. Leftovers of writers that died are removed by the next one.
 */
import { type FileHandle, open, readFile, rename, rm, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { KeyholdError, WeightsError } from '../../util/errors.ts';
import { type FileLock, takeFileLock } from '../../util/files/file-lock-node.ts';
import { clearLeftOvers, freeBytes, makeFolder, unfinishedName, writeSynced } from '../../util/files/files-node.ts';
import { cacheFolder } from '../../util/files/home-node.ts';
import type { WeightCodec } from '../codec.ts';
import type { ParamSpec, PreparedWeights, RowSource, WeightFormat } from '../types.ts';
import { AlignedWriter } from './aligned-writer-node.ts';
import { WeightsManifest } from './manifest.ts';
import { type ByteSink, prepareWeights, type WeightProgress } from './prepare.ts';

export interface StoreOptions<S extends ParamSpec> {
  readonly specs: readonly S[];
  readonly format: WeightFormat;
  /** Says which bytes the checkpoint has: path, size, time, and a hash of its headers and of samples of its tensors. */
  readonly identity: string;
  readonly source: (spec: S) => RowSource;
  /**
   * How the backend stores parameters.
   * @default scaledBlocks
   */
  readonly codec?: WeightCodec;
  /** @default `$KEYHOLD_CACHE`, else `$XDG_CACHE_HOME/keyhold`, else `~/.cache/keyhold` */
  readonly cacheDir?: string;
  /** The name of the model, for lists of what is on the disk. */
  readonly label?: string;
  /**
   * Other work, done while bytes are read and get to the disk, or before weights that take long are prepared: it may
   * throw, and nothing is left then.
   */
  readonly meanwhile?: () => Promise<unknown>;
  readonly onProgress?: (progress: WeightProgress) => void;
  readonly signal?: AbortSignal;
}

/** What an entry is found by. */
export type EntryOptions = Pick<StoreOptions<ParamSpec>, 'specs' | 'format' | 'identity' | 'cacheDir' | 'codec'>;

const WEIGHTS_FILE = 'weights.bin';
/** Bytes that take less than a second. */
const FEW_BYTES = 2 ** 26;
/** Its time says when the weights were last used. */
export const MANIFEST_FILE = 'manifest.json';
/** The name of the model that an entry was made for; nothing depends on it. */
export const LABEL_FILE = 'model.txt';

/**
 * Finds prepared weights, or makes them.
 * @throws WeightsError where the folder can't be written or the disk is full; what reading the checkpoint throws.
 */
export async function openPreparedWeights<S extends ParamSpec>(options: StoreOptions<S>): Promise<PreparedWeights> {
  const entry = entryOf(options);
  const { manifest, folder } = entry;
  const { layout } = manifest;
  const prepared = { ...layout, file: { folder, name: WEIGHTS_FILE } };
  if (layout.size === 0) return prepared;
  if (await isWhole(entry)) {
    await noteUse(folder);
    return prepared;
  }
  let lock: FileLock | undefined;
  try {
    lock = await takeFileLock(`${folder}.lock`, options.signal);
    if (layout.size > FEW_BYTES) await options.meanwhile?.();
    // Another process may have been faster.
    if (!(await isWhole(entry))) await write(options, entry);
  } catch (cause) {
    throw readable(cause, folder, layout.size, options.signal);
  } finally {
    await lock?.release();
  }
  return prepared;
}

/** Whether weights were prepared already. */
export async function hasPreparedWeights(options: EntryOptions): Promise<boolean> {
  return isWhole(entryOf(options));
}

/** A folder that can only be read serves as well. */
async function noteUse(folder: string): Promise<void> {
  const now = new Date();
  await utimes(join(folder, MANIFEST_FILE), now, now).catch(() => undefined);
}

interface Entry {
  readonly manifest: WeightsManifest;
  readonly folder: string;
}

/** Where an entry is, and what is in it. */
function entryOf(options: EntryOptions): Entry {
  const manifest = new WeightsManifest(options);
  return { manifest, folder: join(cacheFolder(options.cacheDir), 'weights', manifest.key) };
}

async function isWhole({ folder, manifest }: Entry): Promise<boolean> {
  try {
    const text = await readFile(join(folder, MANIFEST_FILE), 'utf8');
    const file = await open(join(folder, WEIGHTS_FILE), 'r');
    try {
      return await manifest.matches(text, (await file.stat()).size, reader(file));
    } finally {
      await file.close();
    }
  } catch {
    return false;
  }
}

const reader = (file: FileHandle) => async (offset: number, length: number) => {
  const { bytesRead, buffer } = await file.read(new Uint8Array(length), 0, length, offset);
  return buffer.subarray(0, bytesRead);
};

async function write<S extends ParamSpec>(options: StoreOptions<S>, entry: Entry): Promise<void> {
  const { manifest, folder } = entry;
  const { layout } = manifest;
  const unfinished = unfinishedName(folder);
  try {
    await clearLeftOvers(folder);
    await makeFolder(unfinished);
    await checkSpace(dirname(unfinished), layout.size);
    const file = await open(join(unfinished, WEIGHTS_FILE), 'w+');
    try {
      await file.truncate(layout.size);
      const writer = new AlignedWriter(file, layout.size);
      const sink: ByteSink = (bytes, offset) => writer.write(bytes, offset);
      const prepared = prepareWeights({ ...options, layout, sink, readsTogether: true }).then(() => writer.flush());
      await allDone([prepared, options.meanwhile?.()]);
      const writeManifest = async (): Promise<void> =>
        writeSynced(join(unfinished, MANIFEST_FILE), await manifest.textOf(reader(file)));
      const writeLabel = async (): Promise<void> => {
        if (options.label !== undefined) await writeSynced(join(unfinished, LABEL_FILE), `${options.label}\n`);
      };
      // The folder is found only once it is renamed, so these need no order.
      await allDone([file.sync(), writeManifest(), writeLabel()]);
    } finally {
      await file.close();
    }
    // The lock may have been lost to a process on another machine, whose entry is as good as this one.
    if (await isWhole(entry)) return;
    await rm(folder, { recursive: true, force: true });
    // Where a crash undoes this, the next opening makes the entry anew.
    await rename(unfinished, folder);
  } finally {
    await rm(unfinished, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Waits for all of them, also where one fails: the file may be closed afterwards. */
async function allDone(work: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  await Promise.allSettled(work);
  await Promise.all(work);
}

async function checkSpace(folder: string, size: number): Promise<void> {
  const free = await freeBytes(folder);
  if (free < size)
    throw new WeightsError(
      `${folder}: preparing the weights takes ${megabytes(size)}, but only ${megabytes(free)} are free; ` +
        'free some space, or name another folder (option cacheDir, environment variable KEYHOLD_CACHE)',
    );
}

/** Says for an error of the file system what was being done, and what to do. */
function readable(cause: unknown, folder: string, size: number, signal: AbortSignal | undefined): unknown {
  if (cause instanceof KeyholdError || signal?.aborted) return cause;
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === undefined) return cause;
  const why =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? `the disk is full (${megabytes(size)} are needed)`
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'the folder can not be written'
        : code === 'ENOENT'
          ? 'the folder can not be made'
          : (cause as Error).message;
  return new WeightsError(
    `${dirname(folder)}: prepared weights can't be stored: ${why}; ` +
      'name another folder (option cacheDir, environment variable KEYHOLD_CACHE)',
    { cause },
  );
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
