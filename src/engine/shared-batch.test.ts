import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../../test/support/family-cases.ts';
import { seeded } from '../../test/support/seeded.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { type KVCache, loadModel } from '../node.ts';
import type { LanguageModel } from './language-model.ts';
import { SharedBatch } from './shared-batch.ts';

const cacheDir = await tempFolder('lanes');
let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir });
});
afterAll(() => model.dispose());

/** A sequence that is told by its tokens. */
async function passenger(n: number): Promise<{ name: number; cache: KVCache }> {
  const cache = model.createCache({ cacheLength: 128, blockSize: 4 });
  await model.prefill(cache, [n, ...Array.from({ length: 1 + (n % 9) }, (_, i) => i)]);
  return { name: n, cache };
}

describe('lanes', () => {
  it('are always the first ones, whoever joins and leaves', async () => {
    const random = seeded(3);
    const lanes = new SharedBatch<{ name: number; cache: KVCache }>((await passenger(0)).cache);
    const aboard = new Map<number, { name: number; cache: KVCache }>();
    let next = 1;
    for (let round = 0; round < 60; round++) {
      for (let joins = random(4); joins > 0; joins--) {
        const one = await passenger(next++ % 90);
        aboard.set(one.name, one);
        lanes.join(one);
      }
      for (const one of [...aboard.values()]) {
        if (random(3) > 0) continue;
        lanes.leave(one);
        aboard.delete(one.name);
      }
      lanes.compact();
      expect(lanes.all.map(({ name }) => name).sort()).toEqual([...aboard.keys()].sort());
      expect(lanes.rows).toHaveLength(aboard.size);
      expect(lanes.cache.batch).toBe(Math.max(1, aboard.size));
      for (const [lane, { cache }] of lanes.rows.entries()) {
        expect(lanes.cache.tokens(lane)).toEqual(cache.tokens());
        expect(lanes.cache.slot(1, 0, lane, 1)).toEqual(cache.slot(1, 0, 0, 1));
      }
      // Memory follows the longest, in blocks.
      const longest = Math.max(1, ...lanes.rows.map(({ cache }) => cache.length()));
      expect([...lanes.cache.tables.values()][0].capacity).toBeLessThanOrEqual(longest + 8);
    }
    expect(next).toBeGreaterThan(60);
  });

  it('take caches of the same policy and options', () => {
    const make = (options: object) => model.createCache({ policy: 'h2o', cacheLength: 20, ...options });
    const lanes = new SharedBatch(make({}));
    expect(lanes.takes(make({}))).toBe(true);
    expect(lanes.takes(make({ batch: 3 }))).toBe(true);
    expect(lanes.takes(make({ cacheLength: 21 }))).toBe(false);
    expect(lanes.takes(make({ buffer: 'int8' }))).toBe(false);
    expect(lanes.takes(make({ normalize: false }))).toBe(false);
    expect(lanes.takes(make({ policy: 'tova' }))).toBe(false);
    expect(lanes.takes(make({ policy: 'ada(h2o)' }))).toBe(false);
  });
});
