/**
 * @file Files that are there whole or not at all.
 */
import { mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { sha256 } from './sha256.ts';

/** Nobody takes so long to write a file: what is older was left by a writer that died. */
const STALE_MS = 60 * 60 * 1000;

/**
 * Writes a file beside its place and renames it when it is whole: a crash leaves the old file or the new one. What writers that
 * were killed have left beside it is cleared away, so that it does not pile up.
 */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const unfinished = unfinishedName(path, process.pid);
  try {
    await mkdir(dirname(path), { recursive: true });
    await clearLeftOvers(path);
    const file = await open(unfinished, 'w');
    try {
      await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, path);
  } catch (cause) {
    await rm(unfinished, { force: true }).catch(() => undefined);
    throw cause;
  }
}

/** What a file is called until it is whole: its name tells who writes it, and each write has its own. */
export function unfinishedName(path: string, pid: number, host = hostname()): string {
  const random = Math.random().toString(36).slice(2);
  return `${path}.${hostMark(host)}-${pid}-${random}.tmp`;
}

/** Removes unfinished files of `path` whose writer is no more. Where that fails, they may stay. */
async function clearLeftOvers(path: string): Promise<void> {
  const folder = dirname(path);
  const start = `${basename(path)}.`;
  const names = await readdir(folder).catch((): string[] => []);
  for (const name of names) {
    if (!name.startsWith(start)) continue;
    const [, host, pid] = /^([0-9a-f]{8})-(\d+)-[0-9a-z]*\.tmp$/.exec(name.slice(start.length)) ?? [];
    if (host === undefined) continue;
    const file = join(folder, name);
    if ((host === hostMark(hostname()) && !runs(Number(pid))) || (await isOld(file)))
      await rm(file, { force: true }).catch(() => undefined);
  }
}

/** Process ids mean something on one machine only. */
function hostMark(host: string): string {
  return sha256(new TextEncoder().encode(host)).slice(0, 8);
}

function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}

async function isOld(file: string): Promise<boolean> {
  const stats = await stat(file).catch(() => undefined);
  return stats !== undefined && Date.now() - stats.mtimeMs > STALE_MS;
}
