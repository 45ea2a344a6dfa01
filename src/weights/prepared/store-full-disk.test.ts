import type { FileHandle } from 'node:fs/promises';
import * as fs from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { WeightsError } from '../../util/errors.ts';
import type { ParamSpec, RowSource } from '../types.ts';
import { openPreparedWeights } from './store-node.ts';

/** What the disk does to the writes of a file, once a test says so. */
const disk = vi.hoisted(() => ({
  /** Bytes that fit. */
  room: Infinity,
  /** Most bytes that one write takes. */
  piece: Infinity,
  /** Which operation fails, and how. */
  fails: '' as '' | 'truncate' | 'sync' | 'manifest' | 'rename' | 'mkdir',
  code: 'ENOSPC',
}));

vi.mock('node:fs/promises', async (original) => {
  const real = await original<typeof fs>();
  const failure = () => Object.assign(new Error(`${disk.code}: simulated`), { code: disk.code });
  const guard =
    <A extends unknown[], R>(operation: typeof disk.fails, run: (...args: A) => Promise<R>) =>
    (...args: A): Promise<R> =>
      disk.fails === operation ? Promise.reject(failure()) : run(...args);
  const open = async (...args: Parameters<typeof real.open>): Promise<FileHandle> => {
    const handle = await real.open(...args);
    if (String(args[0]).endsWith('manifest.json'))
      Object.assign(handle, { writeFile: guard('manifest', handle.writeFile.bind(handle)) });
    if (!String(args[0]).endsWith('weights.bin')) return handle;
    const write = handle.write.bind(handle);
    Object.assign(handle, {
      truncate: guard('truncate', handle.truncate.bind(handle)),
      sync: guard('sync', handle.sync.bind(handle)),
      write: (bytes: Uint8Array, at: number, length: number, position: number) => {
        const count = Math.min(length, disk.piece);
        if (disk.room < count) return Promise.reject(failure());
        disk.room -= count;
        return write(bytes, at, count, position);
      },
    });
    return handle;
  };
  return {
    ...real,
    open,
    rename: guard('rename', real.rename),
    mkdir: (path: string, options: { recursive: true }) =>
      disk.fails === 'mkdir' && path.endsWith('.tmp') ? Promise.reject(failure()) : real.mkdir(path, options),
  };
});

const SPECS: ParamSpec[] = [
  { name: 'wte.weight', shape: [64, 64], role: 'embedding', format: 'float32' },
  { name: 'h.0.attn.qkv.weight', shape: [96, 64], role: 'linear', format: 'int8' },
];
const source = ({ shape: [rows, cols] }: ParamSpec): RowSource => ({
  rows,
  cols,
  read: async (start, count) => Float32Array.from({ length: count * cols }, (_, i) => Math.sin(start * cols + i)),
});

let cacheDir: string;
const base = await tempFolder('full-disk');
const open = () => openPreparedWeights({ specs: SPECS, format: 'int8', identity: 'x', source, cacheDir });
const left = () => fs.readdir(join(cacheDir, 'weights'));

beforeEach(async () => {
  cacheDir = await fs.mkdtemp(join(base, 'cache-'));
});
afterEach(() => {
  Object.assign(disk, { room: Infinity, piece: Infinity, fails: '', code: 'ENOSPC' });
});

async function refusal(): Promise<string> {
  const error = await open().catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(WeightsError);
  expect((error as Error).cause).toMatchObject({ code: disk.code });
  return (error as Error).message;
}

describe('a disk that is full', () => {
  it.each([0, 1, 100, 16_384, 20_000])('after %i bytes leaves nothing, and is told with what to do', async (room) => {
    disk.room = room;
    disk.piece = 1000;
    expect(await refusal()).toMatch(
      /prepared weights can't be stored: the disk is full \(1 MB are needed\); name another folder \(option cacheDir, environment variable KEYHOLD_CACHE\)/,
    );
    expect(await left()).toEqual([]);
  });

  it.each(['truncate', 'sync', 'manifest', 'rename', 'mkdir'] as const)('at %s leaves nothing', async (operation) => {
    disk.fails = operation;
    expect(await refusal()).toMatch(/the disk is full/);
    expect(await left()).toEqual([]);
  });

  it('does not spoil what is written once there is room', async () => {
    disk.room = 5000;
    await refusal();
    disk.room = Infinity;
    disk.piece = 7; // a disk may take less than it is given
    const { file } = await open();
    const written = await fs.readFile(join(file.folder, file.name));
    disk.piece = Infinity;
    await fs.rm(file.folder, { recursive: true });
    expect(await fs.readFile(join((await open()).file.folder, file.name))).toEqual(written);
  });
});

describe('a disk that refuses', () => {
  it.each([
    ['EDQUOT', /the disk is full/],
    ['EROFS', /the folder can not be written/],
    ['EACCES', /the folder can not be written/],
    ['EIO', /EIO: simulated/],
  ])('with %s is told with what to do', async (code, message) => {
    disk.fails = 'sync';
    disk.code = code;
    const text = await refusal();
    expect(text).toMatch(message);
    expect(text).toContain(join(cacheDir, 'weights'));
    expect(text).toMatch(/KEYHOLD_CACHE/);
    expect(await left()).toEqual([]);
  });
});
