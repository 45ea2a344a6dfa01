import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { readConfig } from '../config/from-hf.ts';
import { InputError } from '../errors.ts';
import { loadModel } from '../node.ts';
import { planMemory } from './memory-plan.ts';

const ROOT = join(import.meta.dirname, '../..');
const TINY = join(ROOT, 'models/tiny');

async function configOf(path: string) {
  return readConfig(JSON.parse(await readFile(path, 'utf8'))).config;
}

describe('planMemory', () => {
  it('counts keys and values of every layer', async () => {
    const plan = planMemory(await configOf(join(TINY, 'config.json')), { contextLength: 1000 });
    // 2 (keys, values) · 6 layers · 2 groups · 32 wide · 4 bytes
    expect(plan.perToken).toBe(3072);
    expect(plan.perTokenBeyondWindow).toBe(3072);
    expect(plan.cache).toBe(3_072_000);
    expect(plan.denseCache).toBe(3_072_000);
    expect(plan.cachePolicy).toBe('dense');
  });

  it('keeps to the budget, however long the context', async () => {
    const config = await configOf(join(TINY, 'config.json'));
    const plan = planMemory(config, { contextLength: 100_000, cache: { policy: 'lastrec', cacheLength: 128 } });
    expect(plan.cache).toBe(128 * 3072);
    expect(plan.denseCache).toBe(100_000 * 3072);
    // A budget that the context does not reach costs only what the context needs.
    expect(planMemory(config, { contextLength: 10, cache: { policy: 'lastrec', cacheLength: 128 } }).cache).toBe(
      10 * 3072,
    );
  });

  it('knows that layers with a window stop growing', async () => {
    const config = await configOf(join(ROOT, 'test/fixtures/families/gemma3/config.json'));
    const windows = config.slidingWindowIndices.filter(Boolean).length;
    expect(windows).toBeGreaterThan(0);
    const plan = planMemory(config, { contextLength: 10_000 });
    const perLayer = 8 * config.nQueryGroups * config.headSize;
    expect(plan.perTokenBeyondWindow).toBe(perLayer * (config.nLayer - windows));
    expect(plan.cache).toBe(10_000 * plan.perTokenBeyondWindow + windows * perLayer * (config.slidingWindowSize! - 1));
  });

  it('refuses contexts and budgets that are none', async () => {
    const config = await configOf(join(TINY, 'config.json'));
    expect(() => planMemory(config, { contextLength: 0 })).toThrow(InputError);
    expect(() => planMemory(config, { cache: { policy: 'lru' } })).toThrow(/no cache policy "lru"/);
  });
});

describe('a plan', () => {
  let cacheDir: string;
  beforeEach(async () => {
    cacheDir = await mkdtemp(join(tmpdir(), 'keyhold-plan-'));
  });
  afterEach(() => rm(cacheDir, { recursive: true, force: true }));

  it('is what a run takes', async () => {
    const cache = { policy: 'lastrec', cacheLength: 64 };
    const model = await loadModel(TINY, { cacheDir });
    try {
      const plan = planMemory(model.config, { contextLength: 100, cache });
      const generation = model.generate('In the beginning', { maxNewTokens: 96, cache, eosTokenIds: [] });
      await generation.done();
      expect(generation.cache.memory().keysAndValues).toBe(plan.cache);
    } finally {
      await model.release();
    }
  });
});
