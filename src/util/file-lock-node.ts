/**
 * @file A lock between processes: a file that its holder keeps touching.
 *
 * Node has no flock. A holder that died is told by its process id on the same machine, and else by the age of the file.
 */
import { mkdir, open, readFile, rename, rm, stat, utimes } from 'node:fs/promises';
import { hostname } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

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
 * @throws what `signal` is aborted with, or what the file system refuses.
 */
export async function takeFileLock(path: string, signal?: AbortSignal): Promise<FileLock> {
  await mkdir(dirname(path), { recursive: true });
  const content = `${process.pid} ${hostname()} ${Math.random().toString(36).slice(2)}`;
  for (;;) {
    signal?.throwIfAborted();
    if (await create(path, content)) return hold(path, content);
    const holder = await readFile(path, 'utf8').catch(() => undefined);
    // Gone in between: try again at once.
    if (holder === undefined) continue;
    if (await isStale(path, holder)) await remove(path, holder);
    else await sleep(POLL_MS, undefined, { signal }).catch(() => signal?.throwIfAborted());
  }
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
  // A lock is no reason to keep a process alive.
  timer.unref();
  return {
    async release() {
      clearInterval(timer);
      if ((await readFile(path, 'utf8').catch(() => '')) === content) await rm(path, { force: true });
    },
  };
}

async function isStale(path: string, holder: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined);
  if (stats === undefined) return false;
  if (Date.now() - stats.mtimeMs > STALE_MS) return true;
  const [pid, host] = holder.split(' ');
  if (host !== hostname() || !/^\d+$/.test(pid)) return false;
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH';
  }
}

/** Takes a stale lock away by renaming, which only one process can succeed in. */
async function remove(path: string, holder: string): Promise<void> {
  const aside = `${path}.${process.pid}-${Math.random().toString(36).slice(2)}`;
  try {
    await rename(path, aside);
  } catch {
    return;
  }
  const moved = await readFile(aside, 'utf8').catch(() => holder);
  // Another process was faster and this is its fresh lock: put it back, unless the place is taken.
  if (moved !== holder) await create(path, moved);
  await rm(aside, { force: true });
}
