import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { anyTable } from '../../../test/support/calibration.ts';
import { firstSlots } from '../../../test/support/family-cases.ts';
import { onnxTarget } from '../../backends/onnx/target.ts';
import { slotLayers } from '../../config/config.ts';
import { readConfig } from '../../families/read-config.ts';
import { createCache, POLICIES } from '../../kvcache/policies.ts';
import { flatTable } from '../../kvcache/routing/calibration-table.ts';
import { loadModel } from '../../node.ts';
import { cacheShape } from '../../step/cache-shape.ts';
import { InputError } from '../../util/errors.ts';
import { planMemory } from './memory-plan.ts';

const ROOT = join(import.meta.dirname, '../../..');
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
    const windows = slotLayers(config).filter(({ slots }) => slots.window).length;
    const { groups, keySize } = firstSlots(config);
    expect(windows).toBeGreaterThan(0);
    const plan = planMemory(config, { contextLength: 10_000 });
    const perLayer = 8 * groups * keySize;
    expect(plan.perTokenBeyondWindow).toBe(perLayer * (config.nLayer - windows));
    expect(plan.cache).toBe(10_000 * plan.perTokenBeyondWindow + windows * perLayer * (8 - 1));
  });

  it('adds up to the peak of a process', async () => {
    const config = await configOf(join(TINY, 'config.json'));
    for (const policy of ['dense', 'lastrec', 'h2o'])
      for (const weights of ['float32', 'int8', 'int4'] as const) {
        const plan = planMemory(config, { contextLength: 2000, weights, cache: { policy, cacheLength: 2000 } });
        expect(plan.format).toBe(weights);
        const { private: copies, mapped } = plan.resident[weights];
        const parts = [plan.runtime, copies, mapped, plan.cache, plan.bookkeeping, plan.workspace];
        for (const part of parts) expect(part).toBeGreaterThan(0);
        expect(plan.total[weights]).toBe(parts.reduce((a, b) => a + b, 0));
        const workspace = Object.values(plan.workspaceParts).reduce((a, b) => a + b, 0);
        expect(plan.workspace).toBe(workspace);
      }
  });

  it('knows which weights are copied, and which are read in place', async () => {
    const config = await configOf(join(TINY, 'config.json'));
    const { resident, weights } = planMemory(config);
    const embedding = 4096 * 256;
    const matrices = 5_278_976 - 13 * 256; // all but norms; the head is the embedding once more
    // A copy and a table of embeddings; norms are in neither twice.
    expect(resident.float32.private).toBe(4 * matrices);
    expect(resident.float32.mapped).toBe(4 * (embedding + 13 * 256));
    expect(resident.int8.private).toBe(matrices + (8 * matrices) / 32);
    expect(resident.int8.mapped).toBe(embedding + (4 * matrices) / 32 + 4 * 13 * 256);
    expect(resident.int4.private).toBe(matrices / 2 + (8 * matrices) / 32);
    expect(resident.int4.private).toBeLessThan(weights.int8);
  });

  it('knows that longer chunks take more, and smaller budgets less', async () => {
    const config = await configOf(join(TINY, 'config.json'));
    const total = (chunkLength: number, cacheLength: number) =>
      planMemory(config, { contextLength: 8000, chunkLength, cache: { policy: 'lastrec', cacheLength } }).total.float32;
    expect(total(512, 1024)).toBeGreaterThan(total(256, 1024));
    expect(total(256, 1024)).toBeGreaterThan(total(256, 512));
    // 3 copies of [8 heads, 256 queries, 512 + 256 keys], and 7 of [256, width of the MLP]
    const { workspaceParts, bookkeeping } = planMemory(config, {
      contextLength: 2000,
      cache: { policy: 'lastrec', cacheLength: 512 },
    });
    expect(workspaceParts.graph).toBe(3 * 4 * 8 * 256 * 768 + 7 * 4 * 256 * 704);
    // 256 slots that the last chunk overwrote, the position of each slot, the tokens themselves, and an empty row's
    // list of them
    const least = 256 * 3072 + 512 * 4 + 4 * 2000;
    expect(bookkeeping).toBeGreaterThanOrEqual(least);
    expect(bookkeeping).toBeLessThanOrEqual(least + 1024);
  });

  it.each(Object.keys(POLICIES).filter((name) => name !== 'dense'))(
    'counts what %s keeps of slots and rows',
    async (policy) => {
      const config = await configOf(join(TINY, 'config.json'));
      for (const batch of [1, 3]) {
        const table = policy === 'routed' ? { table: flatTable(cacheShape(config, onnxTarget)) } : {};
        const buffer = policy === 'qh2o' ? 'int8' : 'float32';
        const options = { policy, cacheLength: 64, batch, buffer, ...table } as const;
        const cache = createCache(cacheShape(config, onnxTarget), options);
        const empty = cache.memory().bookkeeping;
        const { bookkeeping } = planMemory(config, { contextLength: 64, cache: options });
        const tables = [...cache.store.tables.values()];
        const slots = 64 * tables.reduce((sum, { groups }) => sum + groups, 0);
        // The position of each slot, and the policy's numbers. A pyramid has 64 slots on average.
        const least = 64 * tables.reduce((sum, table) => sum + table.groups * (4 + table.slotStateBytes), 0);
        const { heads: H, keySize: D } = firstSlots(config);
        const L = config.nLayer;
        // The queries of 15 tokens wait: scores are made anew with the 16th.
        const queries = policy === 'expected' ? batch * 15 * 4 * L * H * D : 0;
        const own = bookkeeping - queries;
        expect(own).toBeGreaterThanOrEqual(empty + batch * least);
        expect(own).toBeLessThanOrEqual(empty + batch * slots * 64 + 4 * 64);
        if (policy === 'expected') expect(own).toBeGreaterThan(batch * 2 * 8 * L * H * (D + D ** 2));
      }
    },
  );

  it('counts budgets that differ by group: no step of a long prompt takes more', async () => {
    const model = await loadModel('keyhold/tiny', { threads: 1 });
    try {
      const { config } = model;
      const { shape } = model.createCache({ policy: 'dense', cacheLength: 1 });
      for (const [seed, cacheLength] of [
        [1, 40],
        [2, 100],
        [3, 24],
      ]) {
        const options = { policy: 'routed', table: anyTable(shape, seed), cacheLength, length: 256 };
        const plan = planMemory(config, { contextLength: 256, cache: options });
        const cache = model.createCache(options);
        let most = 0;
        for (let at = 0; at < 256; at += 64) {
          await model.step(cache, [Array.from({ length: 64 }, (_, i) => 5 + ((at + i) % 90))]);
          most = Math.max(most, cache.memory().keysAndValues);
        }
        const slots = new Set([...cache.store.tables.values()].flatMap(({ filled }) => [...filled]));
        expect(slots.size).toBeGreaterThan(1);
        expect(most).toBeLessThanOrEqual(plan.cache);
        expect(most).toBeGreaterThan(0.9 * plan.cache);
        expect(plan.cache).toBeLessThanOrEqual(cacheLength * plan.perToken);
      }
    } finally {
      await model.dispose();
    }
  });

  it('plans encoders, which hold nothing', async () => {
    const config = await configOf(join(ROOT, 'test/fixtures/families/esm/config.json'));
    const plan = planMemory(config, { contextLength: 64 });
    expect({ cache: plan.cache, bookkeeping: plan.bookkeeping }).toEqual({ cache: 0, bookkeeping: 0 });
    expect(plan.total.float32).toBeGreaterThan(plan.runtime);
  });

  it('refuses contexts and budgets that are none', async () => {
    const config = await configOf(join(TINY, 'config.json'));
    expect(() => planMemory(config, { contextLength: 0 })).toThrow(InputError);
    expect(() => planMemory(config, { cache: { policy: 'lru' } })).toThrow(/no cache policy "lru"/);
    expect(() => planMemory(config, { chunkLength: 0 })).toThrow(InputError);
    expect(() => planMemory(config, { weights: 'int2' as 'int4' })).toThrow(/no weight format "int2"/);
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
      await generation.result();
      expect(generation.cache.memory().keysAndValues).toBe(plan.cache);
    } finally {
      await model.dispose();
    }
  });
});
