/**
 * Keys and values that the engine alone writes to a cache: what is held afterwards, and what comes of it.
 */
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import type { LanguageModel } from '../../../engine/language-model.ts';
import { CacheReader } from '../../../kvcache/cache-reader.ts';
import type { KVCache } from '../../../kvcache/kv-cache.ts';
import { loadModel } from '../../../node.ts';
import { range } from '../../../util/numbers.ts';
import { GgmlSession } from './session.ts';

const FOLDER = join(import.meta.dirname, '../../../../test/fixtures/families/llama');
const cacheDir = await tempFolder('placed');
const text = (length: number): number[] => range(length).map((t) => 1 + ((t * t * 7 + t * 13) % 89));

/** All that a cache holds, layer by layer, and logits. */
function held(cache: KVCache, logits: Float32Array) {
  const { layers } = cache.shape;
  const slots = layers.flatMap((layer, l) =>
    range(layer.slots ? layer.groups : 0).flatMap((g) =>
      cache.tokenPositions(l, 0, g).map((position) => ({ position, ...cache.slot(l, position, 0, g)! })),
    ),
  );
  return { slots, logits: Float32Array.from(logits) };
}

/** Whether results of a step had keys. */
async function watched<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly hadKeys: boolean[] }> {
  const hadKeys: boolean[] = [];
  const run = GgmlSession.prototype.run;
  vi.spyOn(GgmlSession.prototype, 'run').mockImplementation(async function (this: GgmlSession, ...args) {
    const outputs = await run.apply(this, args);
    hadKeys.push('keys.0' in outputs);
    return outputs;
  });
  return { result: await work(), hadKeys };
}

/** Does the same with and without keys and values as results, and expects the same bits. @returns which steps had keys. */
async function expectSame(work: (model: LanguageModel) => Promise<ReturnType<typeof held>>): Promise<boolean[]> {
  await using model = await loadModel(FOLDER, { weights: 'float32', engine: 'ggml', cacheDir, threads: 1 });
  const placed = await watched(() => work(model));
  vi.restoreAllMocks();
  vi.spyOn(CacheReader.prototype, 'placesChunk').mockReturnValue(false);
  const read = await watched(() => work(model));
  vi.restoreAllMocks();
  expect(read.hadKeys).toEqual(read.hadKeys.map(() => true));
  expect(placed.result.slots.length).toBeGreaterThan(0);
  expect(placed.result).toEqual(read.result);
  return placed.hadKeys;
}

describe('keys and values that only the engine writes', () => {
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('of chunks, with and without logits, and of tokens', async () => {
    const hadKeys = await expectSame(async (model) => {
      const cache = model.createCache({ policy: 'dense', cacheLength: 100 });
      await model.step(cache, [text(40)], { logits: 'none' });
      await model.step(cache, [text(20)]);
      return held(cache, (await model.step(cache, [[5]])).logits);
    });
    expect(hadKeys).toEqual([false, false, false]);
  });

  it('of tokens in float16; chunks are rounded by the host', async () => {
    const hadKeys = await expectSame(async (model) => {
      const cache = model.createCache({ policy: 'dense', cacheLength: 100, buffer: 'float16' });
      await model.step(cache, [text(20)]);
      await model.step(cache, [[5]]);
      return held(cache, (await model.step(cache, [[6]])).logits);
    });
    expect(hadKeys).toEqual([true, false, false]);
  });

  it('of a chunk whose end is taken back, in two parts, and then all of it', async () => {
    const shortened = async (model: LanguageModel) => {
      const cache = model.createCache({ policy: 'dense', cacheLength: 100 });
      await model.step(cache, [text(30)]);
      await model.step(cache, [text(20)]);
      cache.truncate(44);
      return cache;
    };
    await expectSame(async (model) => {
      const cache = await shortened(model);
      cache.truncate(37);
      await model.step(cache, [text(3)]);
      cache.truncate(38);
      return held(cache, (await model.step(cache, [[5]])).logits);
    });
    await expectSame(async (model) => {
      const cache = await shortened(model);
      cache.truncate(30);
      return held(cache, (await model.step(cache, [[5]])).logits);
    });
    const hadKeys = await expectSame(async (model) => {
      const cache = model.createCache({ policy: 'lastrec', cacheLength: 60 });
      await model.step(cache, [text(50)]);
      cache.truncate(44);
      await model.step(cache, [text(20)]);
      return held(cache, (await model.step(cache, [[5]])).logits);
    });
    // The second chunk is longer than the budget.
    expect(hadKeys).toEqual([false, true, false]);
  });

  it('of a token that takes the slot of one that goes, and is taken back', async () => {
    const hadKeys = await expectSame(async (model) => {
      const cache = model.createCache({ policy: 'lastrec', cacheLength: 24 });
      await model.prefill(cache, text(40));
      for (const token of text(6)) await model.step(cache, [[token]]);
      cache.truncate(cache.length() - 1);
      return held(cache, (await model.step(cache, [[7]])).logits);
    });
    expect(hadKeys.slice(-2)).toEqual([false, false]);
  });

  it('of chunks whose queries a policy observes, while tokens go, and of one that is taken back', async () => {
    for (const policy of ['h2o', 'h2o-max', 'tova', 'snapkv']) {
      const hadKeys = await expectSame(async (model) => {
        const cache = model.createCache({ policy, cacheLength: 40 });
        await model.prefill(cache, text(90), { chunkLength: 16 });
        for (const token of text(3)) await model.step(cache, [[token]]);
        await model.step(cache, [text(12)]);
        cache.truncate(93);
        return held(cache, (await model.step(cache, [text(7)])).logits);
      });
      expect(hadKeys).toEqual(hadKeys.map(() => false));
    }
  });

  it('of rows that a policy observes, and not of chunks of which a part may be taken back', async () => {
    const hadKeys = await expectSame(async (model) => {
      const cache = model.createCache({ policy: 'h2o', cacheLength: 24, batch: 2 });
      await model.step(cache, [text(30), text(7)]);
      await model.step(cache, [text(9), text(20)]);
      await model.step(cache, [text(9), []], { eachQuery: true });
      cache.truncate(42, 0);
      return held(cache, (await model.step(cache, [[5], [6]])).logits);
    });
    expect(hadKeys.slice(-2)).toEqual([true, false]);
  });

  it('of a fork, which leaves the original as it was', async () => {
    await expectSame(async (model) => {
      const cache = model.createCache({ policy: 'dense', cacheLength: 100 });
      await model.step(cache, [text(30)]);
      const fork = cache.fork();
      await model.step(fork, [text(9)]);
      await model.step(cache, [[5]]);
      await model.step(fork, [[6]]);
      const of = held(cache, (await model.step(cache, [[8]])).logits);
      const { slots, logits } = held(fork, (await model.step(fork, [[8]])).logits);
      return { slots: [...of.slots, ...slots], logits: Float32Array.of(...of.logits, ...logits) };
    });
  });

  it('of rows of different lengths', async () => {
    const hadKeys = await expectSame(async (model) => {
      const cache = model.createCache({ policy: 'dense', cacheLength: 100, batch: 2 });
      await model.step(cache, [text(30), text(7)]);
      await model.step(cache, [[3], []]);
      return held(cache, (await model.step(cache, [[5], [6]])).logits);
    });
    expect(hadKeys.at(-1)).toBe(false);
  });
});
