import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { relativeError } from '../../../test/parity/case.ts';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { ids } from '../../../test/support/small-model.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { AnyCacheOptions } from '../../kvcache/policies.ts';
import { type KVCache, loadModel } from '../../node.ts';
import type { LanguageModel } from '../language-model.ts';
import { reusePrefix } from './prefix.ts';

const cacheDir = await tempFolder('prefix');
let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir, generationConfig: false });
});
afterAll(() => model.dispose());

async function filled(tokens: readonly number[], options: Partial<AnyCacheOptions> = {}): Promise<KVCache> {
  const cache = model.createCache(options);
  await model.prefill(cache, tokens, { chunkLength: 4 });
  return cache;
}

describe('reusePrefix', () => {
  it('goes back to what is the same', async () => {
    const cache = await filled(ids(20));
    expect(reusePrefix(cache, [...ids(12), 90, 91])).toBe(12);
    expect(cache.tokens()).toEqual(ids(12));
  });

  it('leaves the last token to be computed, whose logits are wanted', async () => {
    const cache = await filled(ids(20));
    expect(reusePrefix(cache, ids(20))).toBe(19);
    expect(reusePrefix(cache, ids(5))).toBe(4);
    expect(reusePrefix(cache, ids(1))).toBe(0);
    expect(cache.length()).toBe(0);
  });

  it('starts anew where nothing is the same', async () => {
    const cache = await filled(ids(20));
    expect(reusePrefix(cache, ids(20, 5))).toBe(0);
    expect(cache.length()).toBe(0);
    expect(reusePrefix(cache, ids(20))).toBe(0);
  });

  it('goes on from a cache that has dropped tokens, if it has seen nothing else', async () => {
    for (const policy of ['lastrec', 'h2o', 'expected']) {
      const cache = await filled(ids(20), { policy, cacheLength: 8, sinks: 1 });
      expect(reusePrefix(cache, [...ids(20), 5])).toBe(20);
      expect(cache.stats()).toMatchObject({ seen: [20], evicted: [12] });
      // It can't go back beyond its last chunk.
      expect(reusePrefix(cache, [...ids(12), 5])).toBe(0);
      expect(cache.length()).toBe(0);
    }
  });

  it('goes back within the last chunk under any policy', async () => {
    for (const policy of ['lastrec', 'h2o', 'expected']) {
      const cache = await filled(ids(20), { policy, cacheLength: 8, sinks: 1 });
      expect(reusePrefix(cache, [...ids(16), 90, 91])).toBe(16);
      expect(cache.stats()).toMatchObject({ seen: [16], held: [8] });
    }
  });

  it('is told by generate', async () => {
    const cache = await filled(ids(20));
    const prompt = [...ids(14), 90, 91];
    const options = { cache, reusePrefix: true, maxNewTokens: 4, eosTokenIds: [] };
    const { tokens, usage } = await model.generate(prompt, options).result();
    expect(usage).toMatchObject({ cachedTokens: 14, promptTokens: 16 });
    const anew = await model.generate(prompt, { maxNewTokens: 4, eosTokenIds: [] }).result();
    expect(anew.usage.cachedTokens).toBe(0);
    expect(tokens.map(({ token }) => token)).toEqual(anew.tokens.map(({ token }) => token));
  });
});

// ggml-org/llama.cpp#24875, huggingface/transformers#27227
describe.each([
  ['phi3-longrope', 16],
  ['llama-rope-dynamic', 12],
])('%s, cut back below the length that its rotation depends on', (name, limit) => {
  let scaled: LanguageModel;
  beforeAll(async () => {
    scaled = await loadModel(caseFolder(name), { weights: 'float32', cacheDir });
  });
  afterAll(() => scaled.dispose());
  const long = ids(limit + 6);
  const short = ids(limit / 2);

  it('computes what a new cache does after a truncation', async () => {
    const cache = scaled.createCache({ cacheLength: 100 });
    await scaled.prefill(cache, long);
    cache.truncate(short.length);
    const logits = await scaled.prefill(cache, [5, 9, 11]);
    const own = await scaled.prefill(scaled.createCache({ cacheLength: 100 }), [...short, 5, 9, 11]);
    expect(relativeError(logits, own)).toBeLessThan(1e-4);
  });

  it('writes what a new cache does where a prefix is reused', async () => {
    const prompt = [...short, 50, 51];
    const reused = scaled.createCache({ cacheLength: 100 });
    await scaled.prefill(reused, long);
    const tokens = async (cache: KVCache, reusePrefix: boolean) => {
      const run = scaled.generate(prompt, { maxNewTokens: 4, eosTokenIds: [], temperature: 0, cache, reusePrefix });
      return (await run.result()).tokens.map(({ token }) => token);
    };
    expect(await tokens(reused, true)).toEqual(await tokens(scaled.createCache({ cacheLength: 100 }), false));
  });
});
