/**
 * Calibration of each kind of attention, and what a cache that it distributes does in forks, snapshots and batches.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { furthest } from '../../../test/support/furthest.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import {
  type CalibrationTable,
  calibratedLayers,
  LOCAL_WINDOWS,
  QUANTILES,
} from '../../kvcache/routing/calibration-table.ts';
import { restoreCache, snapshotCache } from '../../kvcache/snapshot.ts';
import { loadModel } from '../../node.ts';
import type { Tokenizer } from '../../tokenizer/tokenizer.ts';
import { InputError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { LanguageModel } from '../language-model.ts';
import { calibrate } from './calibrate.ts';

const cacheDir = await tempFolder('calibrate-kinds');
const models: LanguageModel[] = [];
afterAll(() => Promise.all(models.map((model) => model.dispose())));

async function open(name: string): Promise<LanguageModel> {
  const model = await loadModel(caseFolder(name), { weights: 'float32', cacheDir, threads: 1 });
  models.push(model);
  return model;
}

/** The golden checkpoints have no tokenizer: a letter is a token. */
const letters = {
  encode: (text: string) => Array.from(text.slice(0, 96), (letter) => letter.charCodeAt(0) % 50),
} as unknown as Tokenizer;
const TEXT = 'A queen of a far island had three ships, and each had a bell of its own that was heard at night. '.repeat(
  2,
);

const measure = (model: LanguageModel): Promise<CalibrationTable> =>
  calibrate(
    {
      id: 'm',
      config: model.config,
      tokenizer: letters,
      createCache: (options) => model.createCache(options),
      step: (cache, chunk, options) => model.step(cache, chunk, options),
      projection: (layer) => model.projection(layer),
    },
    { texts: [TEXT], length: 32 },
  );

const tokens = (count: number, seed = 1) => range(count).map((t) => (7 * t + 3 * seed) % 50);
/** All slots of layers with slots, which have a budget. */
const held = (cache: KVCache, layers: readonly number[], row = 0) =>
  layers.flatMap((l) => range(cache.shape.layers[l].groups).map((g) => cache.tokenPositions(l, row, g).length));

// Grouped heads; a key head for each head, positions learned; one key head for all; windows; sinks; recurrent layers
// beside; latent.
const KINDS = ['llama', 'gpt2', 'falcon', 'gemma2', 'gpt_oss', 'jamba', 'deepseek_v3'] as const;

describe.each(KINDS)('%s', (name) => {
  it('is calibrated, and its slots are distributed by it in forks, snapshots and batches', async () => {
    const model = await open(name);
    const { shape } = model.createCache({ cacheLength: 8 });
    const table = await measure(model);
    const layers = calibratedLayers(shape);
    expect(layers.length).toBeGreaterThan(0);
    for (const [l, groups] of table.layers.entries()) {
      expect(groups?.length ?? 0).toBe(layers.includes(l) ? shape.layers[l].groups : 0);
      for (const { retrieval, local } of groups ?? []) {
        expect(retrieval).toHaveLength(QUANTILES);
        expect(retrieval.every((log, i) => log <= 1e-6 && (i === 0 || log >= retrieval[i - 1]))).toBe(true);
        expect(local).toHaveLength(LOCAL_WINDOWS.length);
        expect(local.every((lost) => lost >= 0 && Number.isFinite(lost))).toBe(true);
      }
    }

    const options = { policy: 'routed', table, cacheLength: 14, length: 70 };
    const cache = model.createCache(options);
    await model.prefill(cache, tokens(60), { chunkLength: 10 });
    const slots = held(cache, layers);
    const total = slots.reduce((a, b) => a + b, 0);
    expect(total).toBeLessThanOrEqual(14 * slots.length);
    expect(total).toBeGreaterThan(7 * slots.length);

    const restored = await restoreCache(await snapshotCache(cache, 'm'), shape, 'm');
    const fork = cache.fork();
    const next = async (one: KVCache) => Float32Array.from((await model.step(one, [tokens(4, 5)])).logits);
    const wanted = await next(cache);
    for (const copy of [fork, restored]) {
      expect(held(copy, layers)).toEqual(slots);
      expect(furthest(await next(copy), wanted)).toBeLessThan(1e-5);
      expect(held(copy, layers)).toEqual(held(cache, layers));
    }

    const batch = model.createCache({ ...options, batch: 2 });
    for (const from of range(6))
      await model.step(
        batch,
        [tokens(60).slice(10 * from, 10 * from + 10), tokens(60, 2).slice(10 * from, 10 * from + 5)],
        {
          phase: 'prompt',
        },
      );
    expect(held(batch, layers, 0)).toEqual(slots);
    for (const row of [0, 1])
      expect(held(batch, layers, row).reduce((a, b) => a + b, 0)).toBeLessThanOrEqual(14 * slots.length);
  });
});

describe('a model that can not be calibrated', () => {
  it.each(['mistral', 'mamba'])('is refused by name: %s', async (name) => {
    const model = await open(name);
    await expect(measure(model)).rejects.toThrow(
      new RegExp(`${model.config.name} models can't be calibrated: none of`),
    );
    await expect(measure(model)).rejects.toThrow(InputError);
  });
});
