/**
 * @file The cache of downloads, laid out as Python's huggingface_hub does, so that both find each other's files.
 *
 * `models--org--name/blobs/<etag>` holds the bytes, `snapshots/<commit>/<file>` links to them, and `refs/<revision>`
 * holds the commit that a branch or tag was last seen at.
 */
import { constants } from 'node:fs';
import { copyFile, link, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { ggufFiles } from '../checkpoint/gguf/shards.ts';
import { parseShardIndex, SHARD_INDEX_FILE } from '../checkpoint/shard-index.ts';
import { HubError } from '../util/errors.ts';
import { makeFolder, unfinishedName, writeWhole } from '../util/files/files-node.ts';

/** The folders of one repository in the cache. */
export interface RepoCache {
  readonly blobs: string;
  readonly refs: string;
  readonly snapshots: string;
  readonly locks: string;
}

/** Where the repository `id` is in `cacheDir`; creates nothing. */
export function repoCache(cacheDir: string, id: string): RepoCache {
  const name = `models--${id.replace('/', '--')}`;
  const root = join(cacheDir, name);
  return {
    blobs: join(root, 'blobs'),
    refs: join(root, 'refs'),
    snapshots: join(root, 'snapshots'),
    locks: join(cacheDir, '.locks', name),
  };
}

/** Whether `revision` is a full commit hash, which never moves. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision);
}

/** The commit that `revision` was last seen at. */
export async function readRef(cache: RepoCache, revision: string): Promise<string | undefined> {
  if (isCommit(revision)) return revision;
  const text = await readFile(join(cache.refs, revision), 'utf8').catch(() => '');
  return isCommit(text.trim()) ? text.trim() : undefined;
}

/** Remembers the commit of a branch or tag. */
export async function writeRef(cache: RepoCache, revision: string, commit: string): Promise<void> {
  if (isCommit(revision) || (await readRef(cache, revision)) === commit) return;
  const path = join(cache.refs, revision);
  await writeWhole(path, commit);
}

/** How the links of a snapshot are made; replaced in tests. */
export type Linker = (target: string, path: string) => Promise<void>;

/**
 * Makes `pointer` show the bytes of `blob`: a relative symlink, or where there are no symlinks (Windows without
 * developer mode, some network drives) a hard link, or at last a copy.
 */
export async function linkIntoSnapshot(
  blob: string,
  pointer: string,
  linkers: readonly Linker[] = [symlink, hardLink, copy],
): Promise<void> {
  await makeFolder(dirname(pointer));
  const temporary = unfinishedName(pointer);
  let lastError: unknown;
  for (const linker of linkers) {
    try {
      await linker(relative(dirname(pointer), blob), temporary);
      // Some file systems accept links that then lead nowhere.
      await stat(temporary);
      // Renaming replaces a link that is there, in one step.
      await rename(temporary, pointer);
      return;
    } catch (error) {
      lastError = error;
      await rm(temporary, { force: true });
    }
  }
  throw new HubError(`${pointer}: can't be created in the cache: ${(lastError as Error).message}`, undefined, {
    cause: lastError,
  });
}

async function hardLink(target: string, path: string): Promise<void> {
  await link(join(dirname(path), target), path);
}

async function copy(target: string, path: string): Promise<void> {
  await copyFile(join(dirname(path), target), path, constants.COPYFILE_FICLONE);
}

/** The size of a file (links followed), or undefined where there is none. */
export async function fileSize(path: string): Promise<number | undefined> {
  const stats = await stat(path).catch(() => undefined);
  return stats?.isFile() ? stats.size : undefined;
}

/**
 * Says which file a snapshot lacks, or nothing where it can be used.
 *
 * @param files - The files that are needed; without them, what a checkpoint needs at least.
 */
export async function missingFromSnapshot(folder: string, files?: readonly string[]): Promise<string | undefined> {
  const has = async (file: string): Promise<boolean> => (await fileSize(join(folder, file))) !== undefined;
  if (files === undefined && (await ggufInSnapshot(folder)) !== undefined) return undefined;
  for (const file of files ?? ['config.json']) if (!(await has(file))) return file;
  if (files !== undefined || (await has('model.safetensors'))) return undefined;
  const index = await readFile(join(folder, SHARD_INDEX_FILE), 'utf8').catch(() => undefined);
  if (index === undefined) return 'model.safetensors';
  for (const shard of new Set(parseShardIndex(index, join(folder, SHARD_INDEX_FILE)).values()))
    if (!(await has(shard))) return shard;
  return undefined;
}

/**
 * The first file of a GGUF model in a snapshot, by its name in the repository; undefined where it is not there with all
 * shards.
 *
 * @param wanted as for {@link ggufFiles}.
 */
export async function ggufInSnapshot(folder: string, wanted?: string): Promise<string | undefined> {
  const entries = await readdir(folder, { recursive: true }).catch(() => []);
  const names = entries.map((name) => name.replaceAll('\\', '/'));
  if (wanted === undefined && names.some((name) => name.endsWith('.safetensors'))) return undefined;
  const files = ggufFiles(names, wanted);
  for (const file of files) if ((await fileSize(join(folder, file))) === undefined) return undefined;
  return files[0];
}
