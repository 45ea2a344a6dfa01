/**
 * @file A lock between processes: a file that its holder keeps touching.
 *
 * Node has no flock. On the same machine a holder has died when its process is gone; a living one keeps its lock
 * however long it stands still (Ctrl-Z, a debugger, a closed laptop). Of a holder on another machine only the age of
 * the file is known.
 */
import { lstat, open, readFile, rename, rm, utimes } from 'node:fs/promises';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { hostId, makeFolder, processRuns, processStart, randomName } from './files-node.ts';

/** A lock that is held. */
export interface FileLock {
  release(): Promise<void>;
}

const TOUCH_MS = 5_000;
const STALE_MS = 60_000;
const POLL_MS = 200;

/**
 * Waits for the lock file `path` and takes it.
 *
 * @throws what `signal` is aborted with, what the file system refuses, and an error with the code `ELOCK` where the
 * lock can't be read or is no regular file.
 */
export async function takeFileLock(path: string, signal?: AbortSignal): Promise<FileLock> {
  await makeFolder(dirname(path));
  const content = [process.pid, hostId(), await processStart(process.pid), randomName()].join(' ');
  for (;;) {
    signal?.throwIfAborted();
    if (await create(path, content)) return hold(path, content);
    const holder = await readHolder(path);
    if (holder !== undefined && (await isStale(holder))) await remove(path, holder);
    else await sleep(POLL_MS, undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
}

interface Holder {
  /** null where the file of another user can't be read. */
  readonly content: string | null;
  readonly touched: number;
}

async function create(path: string, content: string): Promise<boolean> {
  try {
    const handle = await open(path, 'wx');
    try {
      await handle.writeFile(content);
    } finally {
      await handle.close();
    }
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function hold(path: string, content: string): FileLock {
  const timer = setInterval(() => {
    const now = new Date();
    utimes(path, now, now).catch(() => undefined);
  }, TOUCH_MS);
  // A lock does not keep a process alive.
  timer.unref();
  return {
    async release() {
      clearInterval(timer);
      if ((await readFile(path, 'utf8').catch(() => '')) === content) await rm(path, { force: true });
    },
  };
}

/** What the lock file says; undefined where it is gone. */
async function readHolder(path: string): Promise<Holder | undefined> {
  try {
    const stats = await lstat(path);
    if (!stats.isFile()) throw lockError(`${path} is in the way of a lock file and is no regular file; remove it`);
    const content = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'EACCES' || error.code === 'EPERM') return null;
      throw error;
    });
    return { content, touched: stats.mtimeMs };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function isStale({ content, touched }: Holder): Promise<boolean> {
  const [pid, host, start] = content?.split(' ') ?? [];
  if (host === hostId() && /^\d+$/.test(pid)) {
    if (!processRuns(Number(pid))) return true;
    // The id may belong to a later process by now.
    return start !== '-' && start !== (await processStart(Number(pid)));
  }
  return Date.now() - touched > STALE_MS;
}

/** Removes a stale lock by renaming it, which only one process can succeed in. */
async function remove(path: string, { content }: Holder): Promise<void> {
  const aside = `${path}.${process.pid}-${randomName()}`;
  try {
    await rename(path, aside);
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw lockError(`the lock ${path} was left behind and can't be removed; remove it`, cause);
  }
  const moved = await readFile(aside, 'utf8').catch(() => null);
  // Another process was faster and this is its new lock: put it back, unless the name is taken.
  if (moved !== null && moved !== content) await create(path, moved);
  await rm(aside, { force: true });
}

const lockError = (message: string, cause?: unknown): Error =>
  Object.assign(new Error(message, { cause }), { code: 'ELOCK' });
