import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { takeFileLock } from './file-lock-node.ts';
import { hostId } from './files-node.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyhold-lock-'));
  path = join(folder, 'deep', 'lock');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

it('lets one in at a time', async () => {
  let inside = 0;
  let most = 0;
  const enter = async (): Promise<void> => {
    const lock = await takeFileLock(path);
    most = Math.max(most, ++inside);
    await new Promise((resolve) => setTimeout(resolve, 10));
    inside--;
    await lock.release();
  };
  await Promise.all([enter(), enter(), enter()]);
  expect(most).toBe(1);
  expect(await readdir(join(folder, 'deep'))).toEqual([]);
});

it('takes over from a process that died, and from a lock that nobody touches', async () => {
  const { pid } = spawnSync(process.execPath, ['-e', '']);
  await (await takeFileLock(path)).release();
  await writeFile(path, `${pid} ${hostId()} - x`);
  await (await takeFileLock(path)).release();
  await writeFile(path, '1 elsewhere x');
  await utimes(path, 1000, 1000);
  await (await takeFileLock(path)).release();
  expect(await readdir(join(folder, 'deep'))).toEqual([]);
});

it('is never taken from a living process of this machine, however long it stands still', async () => {
  const lock = await takeFileLock(path);
  await utimes(path, 1000, 1000);
  await expect(takeFileLock(path, AbortSignal.timeout(500))).rejects.toThrow(/timeout/);
  await lock.release();
});

it('is taken where a later process has the id of the holder', async () => {
  const lock = await takeFileLock(path);
  const [pid, host, start, random] = (await readFile(path, 'utf8')).split(' ');
  if (start !== '-') {
    await writeFile(path, [pid, host, '1', random].join(' '));
    await (await takeFileLock(path, AbortSignal.timeout(5000))).release();
  }
  await lock.release();
});

it('refuses what is no regular file in its place, without a loop', async () => {
  await mkdir(join(folder, 'deep'));
  await symlink('/nowhere', path);
  await expect(takeFileLock(path)).rejects.toMatchObject({ code: 'ELOCK', message: /no regular file; remove it/ });
  await rm(path);
  await mkdir(path);
  await expect(takeFileLock(path)).rejects.toMatchObject({ code: 'ELOCK' });
});

it('waits for a living holder until told to stop', async () => {
  const lock = await takeFileLock(path);
  const reason = new Error('enough');
  const controller = new AbortController();
  setTimeout(() => controller.abort(reason), 50);
  await expect(takeFileLock(path, controller.signal)).rejects.toBe(reason);
  await lock.release();
});

it('does not release what another took over', async () => {
  const lock = await takeFileLock(path);
  await writeFile(path, 'another');
  await lock.release();
  expect(await readFile(path, 'utf8')).toBe('another');
});
