import { spawn } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { builtUrl } from '../../../test/support/built.ts';
import { asNobody, openToAll } from '../../../test/support/unprivileged.ts';
import { WeightsError } from '../../util/errors.ts';
import type { ParamSpec, RowSource } from '../types.ts';
import { openPreparedWeights, type StoreOptions } from './store-node.ts';

const SPECS: ParamSpec[] = [
  { name: 'wte.weight', shape: [5, 64], role: 'embedding', format: 'int8' },
  { name: 'h.0.attn.qkv.weight', shape: [3, 40], role: 'linear', format: 'int4' },
  { name: 'ln_f.weight', shape: [64], role: 'plain', format: 'float32' },
];

let cacheDir: string;
let reads: number;

beforeEach(async () => {
  cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-weights-'));
  reads = 0;
});
afterEach(() => rm(cacheDir, { recursive: true, force: true }));

/** Rows that count how often they are read. */
function source({ shape }: ParamSpec): RowSource {
  const cols = shape.length > 1 ? shape[1] : 1;
  return {
    rows: shape[0],
    cols,
    read: async (start, count) => {
      reads++;
      return Float32Array.from({ length: count * cols }, (_, i) => Math.sin(start * cols + i));
    },
  };
}

const options = (own: Partial<StoreOptions<ParamSpec>> = {}): StoreOptions<ParamSpec> => ({
  specs: SPECS,
  format: 'int8',
  identity: 'a checkpoint',
  source,
  cacheDir,
  ...own,
});

const pathOf = (file: { folder: string; name: string }) => join(file.folder, file.name);

describe('prepared weights', () => {
  it('are made once and found again', async () => {
    const progress: number[] = [];
    const first = await openPreparedWeights(
      options({ onProgress: ({ bytes, total }) => progress.push(bytes / total) }),
    );
    expect(reads).toBe(SPECS.length);
    expect(progress.length).toBe(SPECS.length);
    expect(progress.at(-1)).toBeGreaterThan(0.8);
    const bytes = await readFile(pathOf(first.file));
    expect(bytes.length).toBe(first.size);
    const norm = first.params.get('ln_f.weight')!;
    expect(bytes.readFloatLE(norm.offset + 4)).toBeCloseTo(Math.sin(1), 6);
    const second = await openPreparedWeights(options());
    expect(reads).toBe(SPECS.length);
    expect(second.file).toEqual(first.file);
  });

  it('are made anew for another checkpoint, another format and other parameters', async () => {
    const folders = new Set<string>();
    for (const own of [{}, { identity: 'another' }, { format: 'int4' as const }, { specs: SPECS.slice(1) }])
      folders.add((await openPreparedWeights(options(own))).file.folder);
    expect(folders.size).toBe(4);
  });

  it('are made anew where the file is too short, the manifest torn, or gone', async () => {
    const damages = [
      (folder: string) => truncate(join(folder, 'weights.bin'), 100),
      (folder: string) => truncate(join(folder, 'manifest.json'), 20),
      (folder: string) => rm(join(folder, 'manifest.json')),
      (folder: string) => rm(join(folder, 'weights.bin')),
      async (folder: string) => {
        const file = join(folder, 'weights.bin');
        await writeFile(file, new Uint8Array((await readFile(file)).length));
      },
    ];
    for (const damage of damages) {
      const { file } = await openPreparedWeights(options());
      const whole = await readFile(pathOf(file));
      await damage(file.folder);
      reads = 0;
      await openPreparedWeights(options());
      expect(reads).toBe(SPECS.length);
      expect(await readFile(pathOf(file))).toEqual(whole);
    }
  });

  it('leave nothing behind where the source fails or the caller aborts', async () => {
    const failing = (spec: ParamSpec): RowSource => ({
      ...source(spec),
      read: () =>
        spec === SPECS[1] ? Promise.reject(new Error('the stick was pulled')) : source(spec).read(0, spec.shape[0]),
    });
    await expect(openPreparedWeights(options({ source: failing }))).rejects.toThrow('the stick was pulled');
    const aborter = new AbortController();
    const aborting = options({ signal: aborter.signal, onProgress: () => aborter.abort(new Error('enough')) });
    await expect(openPreparedWeights(aborting)).rejects.toThrow('enough');
    expect(await readdir(join(cacheDir, 'weights'))).toEqual([]);
  });

  it('come after other work that takes place meanwhile, and not without it', async () => {
    const done: string[] = [];
    const meanwhile = async () => {
      done.push(`read ${reads}`);
    };
    await openPreparedWeights(options({ meanwhile }));
    expect(done).toEqual([`read ${SPECS.length}`]);
    await openPreparedWeights(options({ meanwhile }));
    expect(done).toHaveLength(1);
    const failing = options({ identity: 'another', meanwhile: () => Promise.reject(new Error('no tokenizer')) });
    await expect(openPreparedWeights(failing)).rejects.toThrow('no tokenizer');
    expect((await readdir(join(cacheDir, 'weights'))).length).toBe(1);
    // Before weights that take long.
    const long: ParamSpec = { name: 'w', shape: [2 ** 18, 65], role: 'plain', format: 'float32' };
    reads = 0;
    await expect(openPreparedWeights({ ...failing, specs: [long] })).rejects.toThrow('no tokenizer');
    expect(reads).toBe(0);
  });

  it('are whole where a writer that lost its lock finishes late', async () => {
    let goOn = (): void => undefined;
    const waiting = new Promise<void>((done) => {
      goOn = done;
    });
    const late = openPreparedWeights(
      options({
        source: (spec) => {
          const rows = source(spec);
          return { ...rows, read: (start, count) => waiting.then(() => rows.read(start, count)) };
        },
      }),
    );
    const lockOf = async () => (await readdir(join(cacheDir, 'weights'))).find((name) => name.endsWith('.lock'));
    await expect.poll(lockOf).toBeDefined();
    // As if it were a holder on another machine that has not touched it for a minute.
    const lock = join(cacheDir, 'weights', (await lockOf())!);
    await writeFile(lock, '1 elsewhere - x');
    await utimes(lock, 1000, 1000);
    const second = await openPreparedWeights(options());
    const whole = await readFile(pathOf(second.file));
    goOn();
    expect((await late).file).toEqual(second.file);
    expect(await readFile(pathOf(second.file))).toEqual(whole);
    expect((await readdir(join(cacheDir, 'weights'))).length).toBe(1);
  });

  it('say what to do where the lock can not be taken', async () => {
    const { file } = await openPreparedWeights(options());
    await rm(file.folder, { recursive: true });
    await mkdir(`${file.folder}.lock`);
    await expect(openPreparedWeights(options())).rejects.toThrow(WeightsError);
    await expect(openPreparedWeights(options())).rejects.toThrow(/no regular file; remove it/);
  });

  it('say what to do where the folder can not be written', async () => {
    await writeFile(join(cacheDir, 'file'), '');
    const inFile = openPreparedWeights(options({ cacheDir: join(cacheDir, 'file') }));
    await expect(inFile).rejects.toThrow(WeightsError);
    await expect(openPreparedWeights(options({ cacheDir: join(cacheDir, 'file') }))).rejects.toThrow(/KEYHOLD_CACHE/);
  });

  it('say so where permission is missing', async () => {
    await openToAll(cacheDir);
    const closed = join(cacheDir, 'closed');
    await mkdir(closed, { mode: 0o555 });
    await asNobody(() =>
      expect(openPreparedWeights(options({ cacheDir: closed }))).rejects.toThrow(/can not be written.*KEYHOLD_CACHE/),
    );
  });

  it('say so where the disk is full', async () => {
    const endless: ParamSpec = { name: 'wte.weight', shape: [2 ** 40, 4096], role: 'plain', format: 'float32' };
    const full = openPreparedWeights(options({ specs: [endless] }));
    await expect(full).rejects.toThrow(/only .* MB are free.*KEYHOLD_CACHE/s);
    expect(reads).toBe(0);
    expect(await readdir(join(cacheDir, 'weights'))).toEqual([]);
  });

  it('are made by one of several that want them at once', async () => {
    const all = await Promise.all(Array.from({ length: 4 }, () => openPreparedWeights(options())));
    expect(new Set(all.map(({ file }) => file.folder)).size).toBe(1);
    expect(reads).toBe(SPECS.length);
  });

  it('survive a writer that is killed', async () => {
    const script = `
      import { openPreparedWeights } from '${builtUrl(join(import.meta.dirname, 'store-node.ts'))}';
      const spec = { name: 'w', shape: [1000, 64], role: 'plain', format: 'float32' };
      const read = async (start, count) => {
        process.stdout.write('reading');
        await new Promise((done) => setTimeout(done, 60_000));
        return new Float32Array(count * 64);
      };
      await openPreparedWeights({ specs: [spec], format: 'float32', identity: 'x', cacheDir: process.argv[1],
        source: () => ({ rows: 1000, cols: 64, read }) });`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', script, cacheDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await new Promise((done) => child.stdout.once('data', done));
    const died = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await died;
    expect((await readdir(join(cacheDir, 'weights'))).length).toBeGreaterThan(0);
    const spec: ParamSpec = { name: 'w', shape: [1000, 64], role: 'plain', format: 'float32' };
    const prepared = await openPreparedWeights(options({ specs: [spec], format: 'float32', identity: 'x' }));
    expect((await readFile(pathOf(prepared.file))).length).toBe(256_000);
    expect(await readdir(join(cacheDir, 'weights'))).toEqual([prepared.file.folder.split('/').at(-1)]);
  });
});
