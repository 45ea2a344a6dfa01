import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { HubError } from '../util/errors.ts';
import { type Linker, linkIntoSnapshot, readRef, repoCache, writeRef } from './cache-node.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'keyhold-cache-'));
  await mkdir(join(folder, 'blobs'));
  await writeFile(join(folder, 'blobs', 'one'), 'bytes');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const refuse: Linker = () => Promise.reject(Object.assign(new Error('not permitted'), { code: 'EPERM' }));

describe('linkIntoSnapshot', () => {
  it('falls back to what the file system can do, and leaves nothing behind', async () => {
    const blob = join(folder, 'blobs', 'one');
    const pointer = join(folder, 'snapshots', 'c', 'sub', 'file');
    await linkIntoSnapshot(blob, pointer);
    expect((await lstat(pointer)).isSymbolicLink()).toBe(true);
    const copier: Linker = async (target, path) => writeFile(path, await readFile(join(dirname(path), target)));
    await linkIntoSnapshot(blob, pointer, [refuse, copier]);
    expect((await lstat(pointer)).isFile()).toBe(true);
    expect(await readFile(pointer, 'utf8')).toBe('bytes');
    await expect(linkIntoSnapshot(blob, pointer, [refuse])).rejects.toThrow(HubError);
    expect(await readdir(dirname(pointer))).toEqual(['file']);
  });

  it('replaces a link that leads nowhere', async () => {
    const pointer = join(folder, 'file');
    await symlink('gone', pointer);
    await linkIntoSnapshot(join(folder, 'blobs', 'one'), pointer);
    expect((await stat(pointer)).size).toBe(5);
  });

  it('does not take a link for good that leads nowhere', async () => {
    const lying: Linker = (_, path) => symlink('gone', path);
    const pointer = join(folder, 'file');
    await expect(linkIntoSnapshot(join(folder, 'blobs', 'one'), pointer, [lying])).rejects.toThrow(/can't be created/);
  });
});

describe('refs', () => {
  it('are read and written as Python does', async () => {
    const cache = repoCache(folder, 'gpt2');
    expect(cache.blobs).toBe(join(folder, 'models--gpt2', 'blobs'));
    const commit = '0123456789'.repeat(4);
    expect(await readRef(cache, 'main')).toBeUndefined();
    await writeRef(cache, 'refs/pr/2', commit);
    expect(await readFile(join(folder, 'models--gpt2', 'refs', 'refs', 'pr', '2'), 'utf8')).toBe(commit);
    expect(await readRef(cache, 'refs/pr/2')).toBe(commit);
    await writeFile(join(cache.refs, 'main'), '../../evil');
    expect(await readRef(cache, 'main')).toBeUndefined();
    expect(await readRef(cache, commit)).toBe(commit);
  });
});
