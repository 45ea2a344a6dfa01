/**
 * Caches of a calibrated model, whose keys are multiplied by a matrix of each group, on both engines.
 */
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { KVCache } from '../../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../../kvcache/policies.ts';
import { loadModel } from '../../node.ts';
import { SnapshotError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { LanguageModel } from '../language-model.ts';

const cacheDir = await tempFolder('key-transforms');
const text = await readFile('models/tiny/validation.txt', 'utf8');
const models: LanguageModel[] = [];
afterAll(() => Promise.all(models.map((model) => model.dispose())));

async function open(engine: 'ggml' | 'onnx', folder = cacheDir): Promise<LanguageModel> {
  const model = await loadModel('keyhold/tiny', { cacheDir: folder, engine, weights: 'float32', threads: 1 });
  models.push(model);
  return model;
}

const calibrated = async (engine: 'ggml' | 'onnx') => {
  const model = await open(engine);
  await model.calibrate({ texts: [text.slice(20_000, 26_000)], length: 128 });
  return model;
};

/** The logits of all tokens of a text, read in chunks. */
async function logitsOf(model: LanguageModel, cache: KVCache, chunks: readonly number[]) {
  const tokens = model.tokenizer.encode(text.slice(0, 1000));
  const all: number[] = [];
  let at = 0;
  for (const count of chunks) {
    const { logits } = await model.step(cache, [tokens.slice(at, at + count)], { logits: 'all' });
    for (const x of logits) all.push(x);
    at += count;
  }
  return all;
}

const meanError = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, x, i) => sum + Math.abs(x - b[i]), 0) / a.length;
const squareError = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, x, i) => sum + (x - b[i]) ** 2, 0) / a.length;

describe.each(['ggml', 'onnx'] as const)('int4 after a calibration by %s', (engine) => {
  it('loses less, and chunks see themselves as before', async () => {
    const model = await calibrated(engine);
    const bare = await open(engine, await tempFolder('key-transforms-bare'));
    const run = (one: LanguageModel, options: Partial<AnyCacheOptions>, chunks = [64, 60, 60, 1]) =>
      logitsOf(one, one.createCache({ policy: 'dense', cacheLength: 256, ...options }), chunks);
    const exact = await run(model, {});
    const buffer = { keys: 'int4', values: 'float16' } as const;
    const [own, hadamard] = [await run(model, { buffer }), await run(bare, { buffer })];
    expect(squareError(own, exact)).toBeLessThan(0.9 * squareError(hadamard, exact));
    const chunk = [64];
    expect(meanError(await run(model, { buffer }, chunk), await run(model, {}, chunk))).toBeLessThan(1e-4);
    // Formats with more bits, and policies that add up the directions of keys, go on as they were.
    expect(model.createCache({ buffer: 'int4' }).transforms).not.toBeNull();
    expect(model.createCache({ buffer: { keys: 'int5', values: 'int4' } }).transforms).not.toBeNull();
    expect(model.createCache({ buffer: 'int8' }).transforms).toBeNull();
    expect(model.createCache({ buffer: 'int4-plain' }).transforms).toBeNull();
    expect(model.createCache({ policy: 'keydiff', cacheLength: 32, buffer: 'int4' }).transforms).toBeNull();
  });

  it('computes with the keys that a policy reads', async () => {
    const model = await calibrated(engine);
    const tokens = model.tokenizer.encode(text.slice(0, 1000)).slice(0, 41);
    const cache = model.createCache({ policy: 'dense', cacheLength: 64, buffer: 'int4' });
    const exact = model.createCache({ policy: 'dense', cacheLength: 64 });
    for (const one of [cache, exact]) await model.step(one, [tokens.slice(0, 40)]);
    for (const [l, { groups }] of cache.shape.layers.entries())
      for (const group of range(groups)) {
        const buffer = exact.store.buffers[l]!;
        for (const slot of range(40)) {
          const { key, value } = cache.slot(l, slot, 0, group)!;
          buffer.write({ row: 0, group, slot }, 1, key, 0, value, 0);
        }
      }
    const [own, wanted] = await Promise.all(
      [cache, exact].map(async (one) => [...(await model.step(one, [[tokens[40]]])).logits]),
    );
    // Engines round single queries to 8 bits.
    expect(meanError(own, wanted)).toBeLessThan(0.03);
  });

  it('is saved, and read where the same calibration is kept', async () => {
    const model = await calibrated(engine);
    const cache = model.createCache({ policy: 'routed', cacheLength: 24, buffer: 'int4' });
    await logitsOf(model, cache, [40, 1, 7]);
    const bytes = await model.snapshot(cache);
    const next = async (one: LanguageModel, of: KVCache) => [...(await one.step(of, [[5, 9, 11]])).logits];
    const restored = await model.restore(bytes);
    expect(restored.transforms).toBe(cache.transforms);
    // Another calibration is the latest one then.
    await model.calibrate({ texts: [text.slice(40_000, 44_000)], length: 128 });
    expect(model.createCache({ buffer: 'int4' }).transforms).not.toBe(cache.transforms);
    const later = await open(engine);
    const read = await later.restore(bytes);
    expect(read.transforms!.source).toEqual(cache.transforms!.source);
    const wanted = await next(model, cache);
    expect(meanError(await next(model, restored), wanted)).toBeLessThan(1e-6);
    expect(meanError(await next(later, read), wanted)).toBeLessThan(1e-6);
    const other = await open(engine === 'ggml' ? 'onnx' : 'ggml');
    expect(meanError(await next(other, await other.restore(bytes)), wanted)).toBeLessThan(0.5);
    const elsewhere = await open(engine, await tempFolder('key-transforms-elsewhere'));
    await expect(elsewhere.restore(bytes)).rejects.toThrow(SnapshotError);
    await expect(elsewhere.restore(bytes)).rejects.toThrow(/after a calibration .* that is not kept here/);
    await rm(join(cacheDir, 'calibrations'), { recursive: true });
  });
});
