import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, realpath, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { f32, safetensorsFile } from '../../test/support/safetensors-bytes.ts';
import { asNobody, openToAll } from '../../test/support/unprivileged.ts';
import { CheckpointError } from '../util/errors.ts';
import { blobSource } from './blob-source.ts';
import { fileError, openFileSource } from './file-source-node.ts';
import { openCheckpointFolder } from './open-node.ts';

const WEIGHTS = safetensorsFile({ a: f32([2], [1, 2]) });
let folder: string;

beforeEach(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'keyhold-open-')));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

async function fill(into = folder): Promise<void> {
  await writeFile(join(into, 'config.json'), '{"model_type":"llama"}');
  await writeFile(join(into, 'model.safetensors'), WEIGHTS);
}

describe('openCheckpointFolder', () => {
  it('opens a folder and a single file', async () => {
    await fill();
    const whole = await openCheckpointFolder(folder);
    const single = await openCheckpointFolder(join(folder, 'model.safetensors'));
    expect([...(await whole.tensors.get('a')!.readFloats(1, 1))]).toEqual([2]);
    expect(single.config).toEqual({ model_type: 'llama' });
    expect(single.identity).toBe(whole.identity);
    await whole.close();
    await single.close();
  });

  it('reads the tiny model of this repository', async () => {
    const checkpoint = await openCheckpointFolder('models/tiny');
    const [first] = checkpoint.tensors.values();
    const count = first.shape.reduce((a, b) => a * b, 1);
    expect((await first.readFloats(0, count)).every(Number.isFinite)).toBe(true);
    expect(await checkpoint.readJson('tokenizer.json')).toHaveProperty('model');
    await checkpoint.close();
  });

  it('opens what the cache of the hub holds: links that leave the folder', async () => {
    await mkdir(join(folder, 'blobs'));
    await mkdir(join(folder, 'snapshot'));
    await fill(join(folder, 'blobs'));
    for (const file of ['config.json', 'model.safetensors']) {
      await symlink(join('..', 'blobs', file), join(folder, 'snapshot', file));
    }
    const checkpoint = await openCheckpointFolder(join(folder, 'snapshot'));
    expect(checkpoint.tensors.size).toBe(1);
    await checkpoint.close();
    await rm(join(folder, 'blobs', 'config.json'));
    await expect(openCheckpointFolder(join(folder, 'snapshot'))).rejects.toThrow(/no config\.json/);
  });

  it('changes its identity with the values of any tensor, at the same size and time', async () => {
    await writeFile(join(folder, 'config.json'), '{}');
    const path = join(folder, 'model.safetensors');
    const write = async (last: number) => {
      await writeFile(path, safetensorsFile({ a: f32([4], [1, 2, 3, 4]), b: f32([2], [1, last]) }));
      await utimes(path, 1000, 1000);
      const checkpoint = await openCheckpointFolder(folder);
      await checkpoint.close();
      return checkpoint.identity;
    };
    expect(await write(3)).not.toBe(await write(2));
  });

  it('refuses a FIFO instead of waiting for its writer', async () => {
    const fifo = join(folder, 'fifo');
    await mkdir(fifo);
    execFileSync('mkfifo', [join(fifo, 'config.json')]);
    await expect(openCheckpointFolder(fifo)).rejects.toThrow(/config\.json: is not a regular file/);
  });

  it('changes its identity with the modification time and place', async () => {
    await fill();
    const identity = async (path = folder) => {
      const checkpoint = await openCheckpointFolder(path);
      await checkpoint.close();
      return checkpoint.identity;
    };
    const first = await identity();
    expect(await identity()).toBe(first);
    await symlink(folder, `${folder}-link`);
    expect(await identity(`${folder}-link`)).toBe(first);
    await rm(`${folder}-link`);
    await utimes(join(folder, 'model.safetensors'), 1000, 1000);
    expect(await identity()).not.toBe(first);
  });

  it('says what is wrong with a path', async () => {
    await expect(openCheckpointFolder(join(folder, 'none'))).rejects.toThrow(/none: does not exist/);
    const relativePath = relative(process.cwd(), join(folder, 'none'));
    await expect(openCheckpointFolder(relativePath)).rejects.toThrow(`does not exist (looked in ${folder})`);
    await mkdir(join(folder, '.bin'));
    await expect(openCheckpointFolder(folder)).rejects.toThrow(/is no model: there is no config\.json, no \.safe/);
    await writeFile(join(folder, 'notes.txt'), 'x');
    await expect(openCheckpointFolder(join(folder, 'notes.txt'))).rejects.toThrow(/neither a folder nor/);
    await writeFile(join(folder, 'smollm2.gguf'), 'x');
    await expect(openCheckpointFolder(join(folder, 'smolm2.gguf'))).rejects.toThrow(/; did you mean smollm2\.gguf\?$/);
    await writeFile(join(folder, 'empty.gguf'), 'x');
    await expect(openCheckpointFolder(join(folder, 'apple.gguf'))).rejects.toThrow(/apple\.gguf: does not exist$/);
    await writeFile(join(folder, 'model.onnx'), 'x');
    await expect(openCheckpointFolder(join(folder, 'model.onnx'))).rejects.toThrow(/ONNX's format \(model\.onnx\)/);
    await writeFile(join(folder, 'pytorch_model.bin'), 'x');
    await expect(openCheckpointFolder(join(folder, 'pytorch_model.bin'))).rejects.toThrow(
      /convert them to safetensors/,
    );
    await writeFile(join(folder, 'model-00001-of-00002.safetensors'), WEIGHTS);
    await expect(openCheckpointFolder(join(folder, 'model-00001-of-00002.safetensors'))).rejects.toThrow(
      /one of several shards/,
    );
    await expect(openCheckpointFolder(join(folder, 'notes.txt', 'x'))).rejects.toThrow(CheckpointError);
  });

  it('says that there is no permission', async () => {
    await fill();
    await openToAll(folder);
    await chmod(join(folder, 'model.safetensors'), 0);
    await asNobody(() => expect(openCheckpointFolder(folder)).rejects.toThrow(/model\.safetensors.* no permission/));
    await chmod(folder, 0);
    await asNobody(() => expect(openCheckpointFolder(folder)).rejects.toThrow(/no permission/));
    await chmod(folder, 0o700);
  });

  it('puts the codes of the system into words', () => {
    const coded = (code: string) => fileError('/x', Object.assign(new Error('raw'), { code })).message;
    expect(coded('EACCES')).toMatch(/^\/x: may not be read: no permission/);
    expect(coded('EMFILE')).toMatch(/too many open files/);
    expect(coded('EIO')).toBe("/x: can't be read: raw");
  });
});

describe('openFileSource', () => {
  it('reads what is asked for, and nothing beyond the end', async () => {
    const path = join(folder, 'bytes');
    await writeFile(
      path,
      Uint8Array.from({ length: 100 }, (_, i) => i),
    );
    const source = await openFileSource(path);
    expect(source.size).toBe(100);
    expect([...(await source.read(97, 3))]).toEqual([97, 98, 99]);
    expect(await source.read(100, 0)).toHaveLength(0);
    for (const [offset, length] of [
      [98, 3],
      [-1, 1],
      [0, -1],
      [Number.NaN, 1],
    ]) {
      await expect(source.read(offset, length)).rejects.toThrow(CheckpointError);
    }
    await truncate(path, 50);
    await expect(source.read(40, 20)).rejects.toThrow(/had 100 bytes .* ends at 50/);
    await source.close();
  });

  it('refuses folders', async () => {
    await expect(openFileSource(folder)).rejects.toThrow(/is a folder, not a file/);
  });
});

describe('blobSource', () => {
  it('reads what is asked for, and nothing beyond the end', async () => {
    const source = blobSource(new Blob([Uint8Array.of(1, 2, 3, 4)]), 'four');
    expect([...(await source.read(1, 2))]).toEqual([2, 3]);
    await expect(source.read(3, 2)).rejects.toThrow(/four: 2 bytes at 3/);
    await source.close();
  });

  it('says so where the file behind the blob is gone or shorter', async () => {
    const lost = new Blob(['abcd']);
    lost.slice = () => {
      const part = new Blob(['ab']);
      part.arrayBuffer = () => Promise.reject(new DOMException('gone', 'NotReadableError'));
      return part;
    };
    await expect(blobSource(lost, 'lost').read(0, 2)).rejects.toThrow(/lost: can't be read any more/);
    const short = new Blob(['abcd']);
    short.slice = () => new Blob(['a']);
    await expect(blobSource(short, 'short').read(0, 2)).rejects.toThrow(/short: ended early/);
  });
});
