import { describe, expect, it } from 'vitest';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { loadModel } from '../../node.ts';
import type { KVCache } from '../kv-cache.ts';

const cacheDir = await tempFolder('headroom');
const load = (name: string) => loadModel(caseFolder(name), { weights: 'float32', cacheDir });
const ids = (length: number, from = 0): number[] => Array.from({ length }, (_, i) => 3 + ((from + i * 37) % 80));
/** All that was given up, in every layer and group. */
const lost = (cache: KVCache): number =>
  [...cache.store.tables.values()].reduce((sum, { evicted }) => sum + evicted.reduce((a, b) => a + b, 0), 0);

describe('headroom', () => {
  const POLICIES = ['lastrec', 'h2o', 'tova', 'snapkv', 'pyramid', 'knorm', 'keydiff', 'ada(h2o)', 'ada(snapkv)'];

  it.each(POLICIES)('is what may come before anything goes: %s', async (policy) => {
    await using model = await load('llama');
    const cache = model.createCache({ policy, cacheLength: 20, sinks: 2 });
    let checked = 0;
    for (let n = 0; n < 40; n++) {
      const headroom = cache.headroom();
      for (const [count, goes] of [
        [headroom, false],
        [headroom + 1, true],
      ] as const) {
        if (count === 0) continue;
        const twin = cache.fork();
        const before = lost(twin);
        await model.step(twin, [ids(count, n)]);
        expect(lost(twin) > before, `${count} after ${n}`).toBe(goes);
        checked++;
      }
      await model.step(cache, [ids(1, n)]);
    }
    expect(checked).toBeGreaterThan(45);
  });

  it('of a dense cache is what is free, and layers with a window always have headroom', async () => {
    await using gemma = await load('gemma2');
    const dense = gemma.createCache({ policy: 'dense', cacheLength: 30 });
    await gemma.step(dense, [ids(12)]);
    expect(dense.headroom()).toBe(18);
    // More than the window of some layers, and yet nothing is lost.
    const last = gemma.createCache({ policy: 'lastrec', cacheLength: 30 });
    await gemma.step(last, [ids(29)]);
    expect(last.headroom()).toBe(1);
    await gemma.step(last, [ids(1)]);
    expect(lost(last)).toBe(0);
    expect(last.headroom()).toBe(0);
  });

  it('is told for each row', async () => {
    await using model = await load('llama');
    const cache = model.createCache({ policy: 'h2o', cacheLength: 16, batch: 3 });
    await model.step(cache, [ids(3), ids(10), []]);
    expect([0, 1, 2].map((row) => cache.headroom(row))).toEqual([13, 6, 16]);
  });
});

describe('memory', () => {
  it('that a chunk freed comes back when it is taken back', async () => {
    await using model = await load('llama');
    const cache = model.createCache({ policy: 'pyramid', cacheLength: 200 });
    await model.prefill(cache, ids(199));
    const before = cache.tokenPositions(1);
    // The last layer is cut down to a few slots, and its memory with it.
    await model.step(cache, [ids(4)], { eachQuery: true });
    expect(cache.tokenPositions(1).length).toBeLessThan(before.length / 2);
    cache.truncate(200);
    expect(cache.tokenPositions(1)).toEqual([...before, 199]);
  });

  it('of long rows is given back after they have left', async () => {
    await using model = await load('llama');
    const cache = model.createCache({ policy: 'dense', batch: 2, cacheLength: 256 });
    await model.step(cache, [ids(10), ids(250)]);
    const full = cache.memory().keysAndValues;
    const rest = await model.step(cache.fork(), [ids(1), []]);
    cache.clearRow(1);
    cache.setBatch(1);
    expect(cache.memory().keysAndValues).toBe(full / 2);
    cache.trim();
    expect(cache.memory().keysAndValues).toBe(full / 8);
    const { logits } = await model.step(cache, [ids(1)]);
    logits.forEach((logit, i) => {
      expect(logit).toBeCloseTo(rest.logits[i], 4);
    });
  });
});
