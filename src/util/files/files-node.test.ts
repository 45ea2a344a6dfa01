import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { makeFolder, unfinishedName, writeWhole } from './files-node.ts';

let folder: string;
let path: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyhold-whole-'));
  path = join(folder, 'a+b.cache');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** The id of a process that is no more. */
const deadPid = (): number => spawnSync(process.execPath, ['-e', '0']).pid;
const names = async (): Promise<string[]> => (await readdir(folder)).sort();

describe('writeWhole', () => {
  it('replaces a file, and leaves nothing else', async () => {
    await writeWhole(path, 'old');
    await writeWhole(path, Uint8Array.of(110, 101, 119));
    expect(await readFile(path, 'utf8')).toBe('new');
    expect(await names()).toEqual(['a+b.cache']);
  });

  it('clears away what writers that were killed have left', async () => {
    for (let n = 0; n < 3; n++) await writeFile(unfinishedName(path, deadPid()), 'half');
    await writeWhole(path, 'new');
    expect(await names()).toEqual(['a+b.cache']);
  });

  it('leaves alone what may still be written, and what is of other files', async () => {
    const pid = deadPid();
    const stay = [
      unfinishedName(path, process.pid), // by another thread, say
      unfinishedName(path, pid, 'elsewhere'),
      unfinishedName(join(folder, 'other.cache'), pid),
      unfinishedName(join(folder, 'a+b.cache.cache'), pid),
      join(folder, 'aab.cache.tmp'),
      join(folder, 'a+b.cache.tmp'),
      join(folder, `a+b.cache.${pid}-mine.tmp`),
    ];
    for (const file of stay) await writeFile(file, 'half');
    await writeWhole(path, 'new');
    expect(await names()).toEqual(['a+b.cache', ...stay.map((file) => basename(file))].sort());
  });

  it('clears what is of an hour ago, whoever wrote it', async () => {
    const file = unfinishedName(path, 1, 'elsewhere');
    await writeFile(file, 'half');
    const then = new Date(Date.now() - 2 * 60 * 60 * 1000);
    await utimes(file, then, then);
    await writeWhole(path, 'new');
    expect(await names()).toEqual(['a+b.cache']);
  });

  it('writes many at once over one file: one of them whole', async () => {
    const contents = Array.from({ length: 8 }, (_, i) => String(i).repeat(100_000));
    await Promise.all(contents.map((content) => writeWhole(path, content)));
    expect(contents).toContain(await readFile(path, 'utf8'));
    expect(await names()).toEqual(['a+b.cache']);
  });

  it('leaves nothing where it fails', async () => {
    await mkdir(path);
    await writeFile(join(path, 'in the way'), '');
    await expect(writeWhole(path, 'new')).rejects.toThrow();
    expect(await names()).toEqual(['a+b.cache']);
  });
});

describe('makeFolder', () => {
  it('makes folders that are missing, and leaves those that are there', async () => {
    const deep = join(folder, 'a/b/c');
    await Promise.all([makeFolder(deep), makeFolder(deep), makeFolder(join(folder, 'a/d'))]);
    await makeFolder(deep);
    expect((await readdir(join(folder, 'a'))).sort()).toEqual(['b', 'd']);
    expect(await readdir(deep)).toEqual([]);
    await writeFile(join(folder, 'file'), '');
    await expect(makeFolder(join(folder, 'file'))).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeFolder(join(folder, 'file/below'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  it.runIf(process.platform === 'linux')('is refused where there can be none', async () => {
    await expect(makeFolder('/proc/keyhold/a')).rejects.toMatchObject({ code: 'ENOENT', path: '/proc/keyhold' });
  });
});
