import { spawnSync } from 'node:child_process';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadModel } from '../../node.ts';
import { unfinishedName } from '../../util/files/files-node.ts';
import { bitsOf } from '../../weights/formats/ggml-formats.ts';
import { defaultEngine } from '../engines-node.ts';
import { preparedFormats } from '../load-model-node.ts';

const cacheDir = await tempFolder('mixes');

/** The one file of its kind. */
async function mixFile(): Promise<string> {
  const names = await readdir(join(cacheDir, 'mixes'));
  expect(names).toHaveLength(1);
  return join(cacheDir, 'mixes', names[0]);
}

describe.runIf(defaultEngine() === 'ggml')('int4 of the ggml engine', () => {
  it('has a format for each matrix, with 5 bits a weight at most, and leaves nothing else behind', async () => {
    // Of a process that was killed while it measured.
    const { pid } = spawnSync(process.execPath, ['-e', '0']);
    await mkdir(unfinishedName(join(cacheDir, 'measured'), pid));
    await (await loadModel('models/tiny', { weights: 'int4', cacheDir })).dispose();
    const { formats, moments } = JSON.parse(await readFile(await mixFile(), 'utf8'));
    // Six layers of four matrices, and the embedding, which is the head, too.
    expect(Object.keys(formats)).toHaveLength(25);
    expect(Object.keys(moments).sort()).toEqual(Object.keys(formats).sort());
    const columns = Buffer.from(moments['h.0.mlp.proj.weight'], 'base64').length / 4;
    const { intermediate_size } = JSON.parse(await readFile('models/tiny/config.json', 'utf8'));
    expect(columns).toBe(intermediate_size);
    expect(new Set(Object.values(formats)).size).toBeGreaterThan(1);
    expect(bitsOf(formats['wte.weight'])).toBeGreaterThanOrEqual(6);
    const [entry, ...more] = await readdir(join(cacheDir, 'weights'));
    expect(more).toEqual([]);
    const { length } = await readFile(join(cacheDir, 'weights', entry, 'weights.bin'));
    expect((8 * length) / 5_278_976).toBeLessThan(5.15);
    expect((await readdir(cacheDir)).sort()).toEqual(['mixes', 'weights']);
  });

  it('is measured once', async () => {
    const before = await readFile(await mixFile(), 'utf8');
    const told: string[] = [];
    const onProgress = ({ stage }: { stage: string }) => told.push(stage);
    await (await loadModel('models/tiny', { weights: 'int4', cacheDir, onProgress })).dispose();
    expect(told).toEqual([]);
    expect(await preparedFormats('models/tiny', { cacheDir })).toEqual(['int4']);
    // The same weights give the same mix, and a damaged file is made again.
    await writeFile(await mixFile(), '{"formats":{"wte.weight":"f8"},"moments":{}}');
    await (await loadModel('models/tiny', { weights: 'int4', cacheDir })).dispose();
    expect(await readFile(await mixFile(), 'utf8')).toBe(before);
    await rm(await mixFile());
    expect(await preparedFormats('models/tiny', { cacheDir })).toEqual([]);
  });

  it('needs no tokenizer', async () => {
    const folder = 'test/fixtures/families/llama';
    await using model = await loadModel(folder, { weights: 'int4', cacheDir: join(cacheDir, 'without') });
    const cache = model.createCache();
    const { logits } = await model.step(cache, [[1, 2, 3]]);
    expect(logits.every(Number.isFinite)).toBe(true);
  });
});
