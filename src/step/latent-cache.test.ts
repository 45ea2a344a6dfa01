/**
 * Latent attention with each format of slots: what is stored is the token's rotated key and latent vector, in one
 * group.
 */
import { afterAll, describe, expect, it } from 'vitest';
import { ALL_BUFFERS, EVERY, optionsFor } from '../../test/support/cache-runs.ts';
import { caseFolder } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import type { LatentAttention } from '../config/layer-spec.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { loadModel } from '../node.ts';
import { range } from '../util/numbers.ts';

const cacheDir = await tempFolder('latent-cache');
const models: LanguageModel[] = [];
afterAll(async () => {
  for (const model of models) await model.dispose();
});

const TOKENS = range(30).map((t) => (t * t * 7 + t * 13 + 29) % 89);

/** Logits of all tokens. */
async function run(model: LanguageModel, cache: KVCache): Promise<number[]> {
  const all: number[] = [];
  let at = 0;
  for (const length of [11, 1, 1, 7, 10]) {
    const { logits } = await model.step(cache, [TOKENS.slice(at, at + length)], { logits: 'all' });
    for (const x of logits) all.push(x);
    at += length;
  }
  return all;
}

/** Keys of a layer by position. */
function keysOf(cache: KVCache, layer: number, size: number): Map<number, Float32Array> {
  const table = cache.store.tableOf(layer)!;
  return new Map(
    range(table.filled[0]).map((slot) => {
      const key = new Float32Array(size);
      cache.store.buffers[layer]!.readKey({ row: 0, group: 0, slot }, key);
      return [table.positions.data[table.positions.at(0, 0, slot)], key];
    }),
  );
}

const rms = (list: readonly number[]) => Math.sqrt(list.reduce((sum, x) => sum + x * x, 0) / list.length);
/** Root mean square of the error of 16 bits, and of the steps of 8, 5 and 4 bits, of the largest number of a vector. */
const MOST = { float32: 1e-6, float16: 1e-3, int8: 0.01, int5: 0.075, int4: 0.15 } as const;

describe.each(['deepseek_v2', 'minicpm3'])('%s', (name) => {
  it('stores one vector for all heads in each format, and attends to it', async () => {
    const model = await loadModel(caseFolder(name), { weights: 'float32', cacheDir, threads: 1 });
    models.push(model);
    const mixer = model.config.layers[0].mixer as LatentAttention;
    const size = mixer.latentSize + mixer.ropeSize;
    const exact = model.createCache({ policy: 'dense', cacheLength: 32 });
    expect(exact.shape.layers[0]).toMatchObject({ groups: 1, keySize: size, valueSize: 0 });
    const dense = await run(model, exact);
    const exactKeys = keysOf(exact, 0, size);
    expect(exactKeys.size).toBe(30);
    for (const buffer of ALL_BUFFERS) {
      const cache = model.createCache({ policy: 'dense', cacheLength: 32, buffer });
      const logits = await run(model, cache);
      const most = MOST[buffer.replace('-plain', '') as keyof typeof MOST];
      const error = rms(logits.map((x, i) => x - dense[i])) / rms(dense);
      expect(error, `logits, ${buffer}`).toBeLessThan(4 * most);
      // Nothing that was rounded enters the keys of the first layer.
      for (const [position, key] of keysOf(cache, 0, size)) {
        const wanted = [...exactKeys.get(position)!];
        const largest = Math.max(...wanted.map(Math.abs));
        expect(rms(wanted.map((x, i) => x - key[i])) / largest, `key ${position}, ${buffer}`).toBeLessThan(most);
      }
      if (buffer !== 'float32') expect(cache.memory().keysAndValues, buffer).toBeLessThan(exact.memory().keysAndValues);
      const saved = await model.restore(await model.snapshot(cache));
      expect([...(await model.step(saved, [[7]])).logits]).toEqual([...(await model.step(cache, [[7]])).logits]);
    }
  });

  it('keeps its budget in 8 and 4 bits under each policy', async () => {
    const model = models.at(-1)!;
    for (const each of EVERY.filter(({ name: policy }) => policy !== 'dense' && !policy.includes('own budgets')))
      for (const buffer of ['int8', 'int4'] as const) {
        const cache = model.createCache({ cacheLength: 8, buffer, ...optionsFor(each, model.createCache().shape) });
        const logits = await run(model, cache);
        expect(logits.every(Number.isFinite), `${each.name} ${buffer}`).toBe(true);
        expect(cache.stats().evicted[0], `${each.name} ${buffer}`).toBeGreaterThan(0);
        const held = range(model.config.nLayer).map((l) => cache.tokenPositions(l).length);
        expect(
          held.reduce((sum, count) => sum + count, 0),
          `${each.name} ${buffer}`,
        ).toBeLessThanOrEqual(8 * held.length);
      }
  });
});
