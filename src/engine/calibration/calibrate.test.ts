/**
 * Calibration of the small model: what is measured, that engines agree, and that tables are kept.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { feedbackOf } from '../../kvcache/buffers/key-rounding.ts';
import { type CalibrationTable, LOCAL_WINDOWS, QUANTILES } from '../../kvcache/routing/calibration-table.ts';
import { loadModel } from '../../node.ts';
import { InputError } from '../../util/errors.ts';
import type { LanguageModel } from '../language-model.ts';

const cacheDir = await tempFolder('calibrate');
const LENGTH = 64;
const TEXT = (await readFile('models/tiny/validation.txt', 'utf8')).slice(20_000, 21_200);
const models: LanguageModel[] = [];
afterAll(() => Promise.all(models.map((model) => model.dispose())));

async function open(engine?: 'onnx'): Promise<LanguageModel> {
  // Apart, as what was measured last is what later caches get.
  const folder = join(cacheDir, engine ?? 'ggml');
  const model = await loadModel('keyhold/tiny', { cacheDir: folder, engine, weights: 'float32' });
  models.push(model);
  return model;
}

const groupsOf = (table: CalibrationTable) => table.layers.flatMap((layer) => layer!);

describe('a calibration', () => {
  it('has quantiles and local needs of every group, is the same on both engines, and is kept', async () => {
    const model = await open();
    const seen: number[] = [];
    const options = { texts: [TEXT], length: LENGTH, onProgress: (done: number) => seen.push(done) };
    const table = await model.calibrate(options);
    expect(table.layers.map((layer) => layer?.length)).toEqual(model.config.layers.map(() => 2));
    expect(seen.at(-1)).toBeGreaterThan(2 * LENGTH);
    for (const { retrieval, local } of groupsOf(table)) {
      expect(retrieval).toHaveLength(QUANTILES);
      expect(retrieval).toEqual(retrieval.toSorted((a, b) => a - b));
      expect(retrieval.at(-1)!).toBeLessThanOrEqual(0);
      // With a window as long as the text nothing is lost.
      for (const [w, window] of LOCAL_WINDOWS.entries())
        if (window >= LENGTH) expect(local[w]).toBe(0);
        else expect(local[w]).toBeGreaterThan(0);
    }
    // The model reads its context again: some groups look at the very slot, others never do.
    const upper = groupsOf(table).map(({ retrieval }) => retrieval[QUANTILES / 2]);
    expect(Math.max(...upper)).toBeGreaterThan(Math.min(...upper) + 1);

    const [{ keySize }] = model.createCache({ cacheLength: 8 }).shape.layers;
    const onnx = await (await open('onnx')).calibrate({ texts: [`${TEXT} `], length: LENGTH });
    groupsOf(onnx).forEach(({ retrieval, local, rounding }, i) => {
      const own = groupsOf(table)[i];
      const feedback = feedbackOf(own.rounding!, keySize);
      const largest = Math.max(...feedback.map(Math.abs));
      expect(largest).toBeGreaterThan(0.2);
      feedbackOf(rounding!, keySize).forEach((x, j) => {
        expect(Math.abs(x - feedback[j])).toBeLessThan(0.05 * largest);
      });
      retrieval.forEach((x, q) => {
        expect(Math.abs(x - own.retrieval[q])).toBeLessThan(0.05);
      });
      local.forEach((x, w) => {
        expect(Math.abs(x - own.local[w])).toBeLessThan(0.01 * (own.local[w] + 0.01));
      });
    });

    seen.length = 0;
    expect(await model.calibrate(options)).toBe(table);
    // A later process has it at once.
    const later = await open();
    const { routes } = model.createCache({ policy: 'routed', cacheLength: 16 }).options as { routes?: unknown };
    expect(routes).toBeDefined();
    expect(later.createCache({ policy: 'routed', cacheLength: 16 }).options).toHaveProperty('routes', routes);
    expect(await (await open()).calibrate(options)).toEqual(table);
    expect(seen).toEqual([]);
    // A damaged file is made again.
    const folder = join(cacheDir, 'ggml', 'calibrations');
    for (const name of await readdir(folder)) await writeFile(join(folder, name), '{"version":2}');
    expect(await (await open()).calibrate(options)).toEqual(table);
    expect(seen.length).toBeGreaterThan(0);
  });

  it('ends with its signal, and refuses what is too short', async () => {
    const model = await open();
    const aborter = new AbortController();
    const reason = new Error('enough');
    const run = model.calibrate({
      texts: [TEXT],
      length: 48,
      signal: aborter.signal,
      onProgress: () => aborter.abort(reason),
    });
    await expect(run).rejects.toBe(reason);
    await expect(model.calibrate({ texts: ['too short'] })).rejects.toThrow(InputError);
    await expect(model.calibrate({ texts: [TEXT], length: 3 })).rejects.toThrow(/length/);
  });
});
