/**
 * @file What Keyhold and the Hugging Face hub keep on the disk: downloads, and prepared weights.
 */
import { lstat, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { readHubSettings } from '../../hub/settings-node.ts';
import { takeFileLock } from '../../util/files/file-lock-node.ts';
import { defaultCacheDir } from '../../util/files/home-node.ts';
import { LABEL_FILE, MANIFEST_FILE } from '../../weights/prepared/store-node.ts';
import type { CliIo } from '../io.ts';

/** A folder that can be removed. */
export interface CacheEntry {
  readonly kind: 'download' | 'weights';
  /** The model that it belongs to; the folder's own name where that is not known. */
  readonly model: string;
  /** Of prepared weights. */
  readonly format: string | null;
  readonly bytes: number;
  /** Of prepared weights: when a model was last loaded from them, as ISO 8601; null where that is not known. */
  readonly lastUsed: string | null;
  readonly folder: string;
}

export interface DiskCaches {
  readonly hubFolder: string;
  readonly weightsFolder: string;
  /** Downloads, then prepared weights, each by name. */
  readonly entries: readonly CacheEntry[];
}

/** Looks at both folders. Changes nothing. */
export async function listCaches(io: CliIo): Promise<DiskCaches> {
  const env = { ...process.env, ...io.env };
  const { cacheDir: hubFolder } = await readHubSettings({ env, token: false });
  const weightsFolder = join(defaultCacheDir(env), 'weights');
  const downloads = await Promise.all(
    (await foldersIn(hubFolder))
      .filter((name) => name.startsWith('models--'))
      .map(async (name): Promise<CacheEntry> => {
        const folder = join(hubFolder, name);
        const model = name.slice('models--'.length).replace('--', '/');
        return { kind: 'download', model, format: null, bytes: await sizeOf(folder), lastUsed: null, folder };
      }),
  );
  const weights = await Promise.all(
    (await foldersIn(weightsFolder)).map(async (name): Promise<CacheEntry> => {
      const folder = join(weightsFolder, name);
      const model = await readFile(join(folder, LABEL_FILE), 'utf8').catch(() => name);
      return {
        kind: 'weights',
        model: model.trim(),
        format: await formatOf(folder),
        bytes: await sizeOf(folder),
        lastUsed: await stat(join(folder, MANIFEST_FILE)).then(
          ({ mtime }) => mtime.toISOString(),
          () => null,
        ),
        folder,
      };
    }),
  );
  const byName = (a: CacheEntry, b: CacheEntry) => a.model.localeCompare(b.model) || a.folder.localeCompare(b.folder);
  return { hubFolder, weightsFolder, entries: [...downloads.sort(byName), ...weights.sort(byName)] };
}

/** Removes an entry. Where another process prepares it, waits until that is done. */
export async function removeEntry(entry: CacheEntry, signal: AbortSignal): Promise<void> {
  const lock = entry.kind === 'weights' ? await takeFileLock(`${entry.folder}.lock`, signal) : null;
  try {
    await rm(entry.folder, { recursive: true, force: true });
  } finally {
    await lock?.release();
  }
}

/** Names of folders, without those that are unfinished; none where there is no such folder. */
async function foldersIn(folder: string): Promise<string[]> {
  const found = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return found.filter((item) => item.isDirectory() && !item.name.startsWith('.')).map((item) => item.name);
}

async function formatOf(folder: string): Promise<string | null> {
  const manifest = await readFile(join(folder, MANIFEST_FILE), 'utf8').catch(() => '');
  return /^ "format": "(\w+)"/m.exec(manifest)?.[1] ?? null;
}

/** Bytes of all files below, each counted once however many links lead to it. */
async function sizeOf(folder: string): Promise<number> {
  const seen = new Set<string>();
  let bytes = 0;
  for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
    const stats = await lstat(join(folder, name)).catch(() => null);
    if (!stats?.isFile() || seen.has(`${stats.dev}:${stats.ino}`)) continue;
    seen.add(`${stats.dev}:${stats.ino}`);
    bytes += stats.size;
  }
  return bytes;
}
