/**
 * @file The folder of prepared weights: made once per checkpoint, format and quantiser, mapped on every later open.
 *
 * An entry is a folder `weights/KEY` with `weights.bin` and `manifest.json`. It is written beside its place and renamed when
 * it is whole, so what has its name is complete; a leftover of a writer that died is removed by the next one.
 */
import { createHash } from 'node:crypto';
import { mkdir, open, readFile, rename, rm, stat, statfs, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { KeyholdError, WeightsError } from '../util/errors.ts';
import { type FileLock, takeFileLock } from '../util/file-lock-node.ts';
import { layOut, type WeightLayout } from './layout.ts';
import { prepareWeights, type WeightProgress } from './prepare.ts';
import { QUANTISER_VERSION } from './quantise.ts';
import type { ParamSpec, PreparedWeights, RowSource, WeightFormat } from './types.ts';

export interface StoreOptions<S extends ParamSpec> {
  readonly specs: readonly S[];
  readonly format: WeightFormat;
  /** Says which bytes the checkpoint has: path, size, time and hash of its headers. */
  readonly identity: string;
  readonly source: (spec: S) => RowSource;
  /** Unless stated: `$KEYHOLD_CACHE`, else `$XDG_CACHE_HOME/keyhold`, else `~/.cache/keyhold`. */
  readonly cacheDir?: string;
  readonly onProgress?: (progress: WeightProgress) => void;
  readonly signal?: AbortSignal;
}

const WEIGHTS_FILE = 'weights.bin';
const MANIFEST_FILE = 'manifest.json';

/** The folder where Keyhold keeps what it made of checkpoints. */
export function defaultCacheDir(env: NodeJS.ProcessEnv = process.env): string {
  if (env.KEYHOLD_CACHE) return resolve(env.KEYHOLD_CACHE);
  return join(env.XDG_CACHE_HOME ? resolve(env.XDG_CACHE_HOME) : join(homedir(), '.cache'), 'keyhold');
}

/**
 * Finds prepared weights, or makes them.
 * @throws WeightsError where the folder can't be written or the disk is full; what reading the checkpoint throws.
 */
export async function openPreparedWeights<S extends ParamSpec>(options: StoreOptions<S>): Promise<PreparedWeights> {
  const { layout, manifest, folder } = entryOf(options);
  const prepared = { params: layout.params, size: layout.size, file: { folder, name: WEIGHTS_FILE } };
  if (await isWhole(folder, manifest, layout.size)) return prepared;
  let lock: FileLock | undefined;
  try {
    lock = await takeFileLock(`${folder}.lock`, options.signal);
    // Another process may have been faster.
    if (!(await isWhole(folder, manifest, layout.size))) await write(options, layout, manifest, folder);
  } catch (cause) {
    throw readable(cause, folder, layout.size, options.signal);
  } finally {
    await lock?.release();
  }
  return prepared;
}

/** Whether weights were prepared already. */
export async function hasPreparedWeights(
  options: Pick<StoreOptions<ParamSpec>, 'specs' | 'format' | 'identity' | 'cacheDir'>,
): Promise<boolean> {
  const { manifest, folder, layout } = entryOf(options);
  return isWhole(folder, manifest, layout.size);
}

/** Where an entry is, and what is in it. */
function entryOf(options: Pick<StoreOptions<ParamSpec>, 'specs' | 'format' | 'identity' | 'cacheDir'>) {
  const layout = layOut(options.specs);
  const manifest = describe(options, layout);
  const key = createHash('sha256').update(manifest).digest('hex').slice(0, 32);
  const folder = join(options.cacheDir ? resolve(options.cacheDir) : defaultCacheDir(), 'weights', key);
  return { layout, manifest, folder };
}

/** What must be equal for an entry to be used again. */
function describe(
  options: Pick<StoreOptions<ParamSpec>, 'specs' | 'format' | 'identity'>,
  layout: WeightLayout,
): string {
  return JSON.stringify(
    {
      version: QUANTISER_VERSION,
      format: options.format,
      checkpoint: options.identity,
      size: layout.size,
      params: options.specs.map(({ name, shape, format }) => `${name} ${format} [${shape}]`),
    },
    null,
    1,
  );
}

async function isWhole(folder: string, manifest: string, size: number): Promise<boolean> {
  try {
    const found = await readFile(join(folder, MANIFEST_FILE), 'utf8');
    return found === manifest && (await stat(join(folder, WEIGHTS_FILE))).size === size;
  } catch {
    return false;
  }
}

async function write<S extends ParamSpec>(
  options: StoreOptions<S>,
  layout: WeightLayout,
  manifest: string,
  folder: string,
): Promise<void> {
  const unfinished = `${folder}.unfinished`;
  await rm(unfinished, { recursive: true, force: true });
  await rm(folder, { recursive: true, force: true });
  try {
    await mkdir(unfinished, { recursive: true });
    await checkSpace(dirname(unfinished), layout.size);
    const file = await open(join(unfinished, WEIGHTS_FILE), 'w');
    try {
      await file.truncate(layout.size);
      const sink = async (bytes: Uint8Array, offset: number) => {
        for (let at = 0; at < bytes.byteLength; )
          at += (await file.write(bytes, at, bytes.byteLength - at, offset + at)).bytesWritten;
      };
      await prepareWeights({ ...options, layout, sink });
      await file.sync();
    } finally {
      await file.close();
    }
    await writeFile(join(unfinished, MANIFEST_FILE), manifest, { flush: true });
    await rename(unfinished, folder);
  } catch (error) {
    await rm(unfinished, { recursive: true, force: true }).catch(() => undefined);
    throw error;
  }
}

async function checkSpace(folder: string, size: number): Promise<void> {
  const { bavail, bsize } = await statfs(folder);
  if (bavail * bsize < size)
    throw new WeightsError(
      `${folder}: preparing the weights takes ${megabytes(size)}, but only ${megabytes(bavail * bsize)} are free; ` +
        'make room, or name another folder (option cacheDir, environment variable KEYHOLD_CACHE)',
    );
}

/** What the file system says, in the words of what was being done. */
function readable(cause: unknown, folder: string, size: number, signal: AbortSignal | undefined): unknown {
  if (cause instanceof KeyholdError || signal?.aborted) return cause;
  const code = (cause as NodeJS.ErrnoException).code;
  if (code === undefined) return cause;
  const why =
    code === 'ENOSPC' || code === 'EDQUOT'
      ? `the disk is full (${megabytes(size)} are needed)`
      : code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
        ? 'the folder can not be written'
        : (cause as Error).message;
  return new WeightsError(
    `${dirname(folder)}: prepared weights can't be stored: ${why}; ` +
      'name another folder (option cacheDir, environment variable KEYHOLD_CACHE)',
    { cause },
  );
}

const megabytes = (bytes: number): string => `${Math.ceil(bytes / 1e6)} MB`;
