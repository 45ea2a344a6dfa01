import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { seeded } from '../../../test/support/seeded.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { createCache } from '../../kvcache/policies.ts';
import { loadModel } from '../../node.ts';
import type { LanguageModel } from '../language-model.ts';
import { type BatchMember, SharedBatch } from './shared-batch.ts';

const cacheDir = await tempFolder('shared-batch');
let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir });
});
afterAll(() => model.dispose());

interface Member extends BatchMember {
  readonly name: number;
}

/** A sequence that is told by its tokens. */
async function member(n: number): Promise<Member> {
  const cache = createCache(model.createCache().shape, { cacheLength: 128 }, 4);
  await model.prefill(cache, [n, ...Array.from({ length: 1 + (n % 9) }, (_, i) => i)]);
  return { name: n, cache, joined: () => {} };
}

describe('the rows of a shared cache', () => {
  it('are always the first ones, whoever joins and leaves', async () => {
    const random = seeded(3);
    const batch = new SharedBatch<Member>((await member(0)).cache);
    const members = new Map<number, Member>();
    let next = 1;
    for (let round = 0; round < 60; round++) {
      for (let joins = random(4); joins > 0; joins--) {
        const one = await member(next++ % 90);
        members.set(one.name, one);
        batch.join(one);
      }
      for (const one of [...members.values()]) {
        if (random(3) > 0) continue;
        batch.leave(one);
        members.delete(one.name);
      }
      batch.compact();
      expect(batch.members.map(({ name }) => name).sort()).toEqual([...members.keys()].sort());
      expect(batch.rows).toHaveLength(members.size);
      expect(batch.cache.batch).toBe(Math.max(1, members.size));
      for (const [row, { cache }] of batch.rows.entries()) {
        expect(batch.cache.tokens(row)).toEqual(cache.tokens());
        expect(batch.cache.slot(1, 0, row, 1)).toEqual(cache.slot(1, 0, 0, 1));
      }
      // Memory follows the longest, in blocks.
      const longest = Math.max(1, ...batch.rows.map(({ cache }) => cache.length()));
      expect([...batch.cache.store.tables.values()][0].capacity).toBeLessThanOrEqual(longest + 8);
    }
    expect(next).toBeGreaterThan(60);
  });

  it('take caches of the same policy and options', () => {
    const make = (options: object) => model.createCache({ policy: 'h2o', cacheLength: 20, ...options });
    const batch = new SharedBatch(make({}));
    expect(batch.takes(make({}))).toBe(true);
    expect(batch.takes(make({ batch: 3 }))).toBe(true);
    expect(batch.takes(make({ cacheLength: 21 }))).toBe(false);
    expect(batch.takes(make({ buffer: 'int8' }))).toBe(false);
    expect(batch.takes(make({ normalize: false }))).toBe(false);
    expect(batch.takes(make({ policy: 'tova' }))).toBe(false);
    expect(batch.takes(make({ policy: 'ada(h2o)' }))).toBe(false);
  });
});
