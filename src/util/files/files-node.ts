/**
 * @file Files and folders that exist whole or not at all, free space, and whether a process is alive.
 */
import { readlinkSync } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { sha256 } from '../sha256.ts';

/** A file is written in less time than this: an older unfinished file was left by a writer that died. */
const STALE_MS = 60 * 60 * 1000;

/** Whether there is a folder of this path that can be looked at. */
export async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => null))?.isDirectory() ?? false;
}

/**
 * Makes a folder, and those above it that are missing. `mkdir` with `recursive` never returns where a folder that is
 * there refuses a new one by ENOENT, as /proc does (Node 20.20).
 * @param mode of the folders that are made.
 * @throws what the file system refuses.
 */
export async function makeFolder(path: string, mode = 0o777): Promise<void> {
  const make = async (): Promise<boolean> => {
    try {
      await mkdir(path, mode);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
      // A folder that is there says EEXIST, on some systems and disks another code.
      if (await isFolder(path)) return true;
      throw error;
    }
  };
  if (await make()) return;
  if (dirname(path) !== path) await makeFolder(dirname(path), mode);
  // Once more: now the folder above is there, and what is said is why there is none in it.
  if (!(await make())) await mkdir(path, mode);
}

/**
 * Writes a file under a temporary name and renames it when it is complete: a crash leaves the old file or the new one.
 * Removes what killed writers left beside it.
 */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const unfinished = unfinishedName(path);
  try {
    await makeFolder(dirname(path));
    await clearLeftOvers(path);
    await writeSynced(unfinished, content);
    await rename(unfinished, path);
    await syncFolder(dirname(path));
  } catch (cause) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw cause;
  }
}

/** Writes a file and waits until it is on the disk. */
export async function writeSynced(path: string, content: Uint8Array | string): Promise<void> {
  const file = await open(path, 'w');
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** Puts the renames within a folder on the disk. Some systems do not open folders; there it does nothing. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r').catch(() => null);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

/** The temporary name of a file or folder: it says which process writes it, and each write has a name of its own. */
export function unfinishedName(path: string, pid = process.pid, host = hostId()): string {
  return `${path}.${hostMark(host)}-${pid}-${randomName()}.tmp`;
}

export const randomName = (): string => Math.random().toString(36).slice(2);

/** Removes unfinished files and folders of `path` whose writer has died. Where that fails, they stay. */
export async function clearLeftOvers(path: string): Promise<void> {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  const names = await readdir(folder).catch((): string[] => []);
  for (const name of names) {
    if (!name.startsWith(start)) continue;
    const [, host, pid] = /^([0-9a-f]{8})-(\d+)-[0-9a-z]*\.tmp$/.exec(name.slice(start.length)) ?? [];
    if (host === undefined) continue;
    const left = join(folder, name);
    const died = host === hostMark(hostId()) ? !processRuns(Number(pid)) : await isOld(left);
    if (died) await rm(left, { recursive: true, force: true }).catch(() => undefined);
  }
}

/** Bytes that a file system has left for this process, by a folder in it. */
export async function freeBytes(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder);
  return bavail * bsize;
}

/** Whether there is a process with this id on this machine. */
export function processRuns(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

/** When a process started, in the system's own unit; `-` where the system does not tell (Linux does). */
export async function processStart(pid: number): Promise<string> {
  const stats = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  // The name of the program, in parentheses, may hold spaces and parentheses.
  return stats.slice(stats.lastIndexOf(')') + 2).split(' ')[19] ?? '-';
}

/**
 * Where process ids mean the same: the host, and on Linux its namespace of process ids (a container has one of its
 * own).
 */
export function hostId(): string {
  try {
    return `${hostname()}/${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return hostname();
  }
}

function hostMark(host: string): string {
  return sha256(host).slice(0, 8);
}

async function isOld(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  return stats !== undefined && Date.now() - stats.mtimeMs > STALE_MS;
}

/** Writes all of `bytes` at `offset`: one write may take less than it is given. */
export async function writeAt(file: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.byteLength; )
    done += (await file.write(bytes, done, bytes.byteLength - done, offset + done)).bytesWritten;
}
