import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CASES, configJson, firstSlots } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import { isEncoder, slotLayers } from '../../config/config.ts';
import { readConfig } from '../../families/read-config.ts';
import { definePolicy } from '../../kvcache/policy/define-policy.ts';
import { loadModel } from '../../node.ts';

const FAMILIES = join(import.meta.dirname, '../../../test/fixtures/families');
const DECODERS = CASES.filter((name) => !isEncoder(readConfig(configJson(name)).config));
const cacheDir = await tempFolder('sums');

/** The weights that one group sees, added up. */
interface Seen {
  readonly needs: readonly number[];
  readonly heads: number;
  readonly fresh: number;
  readonly eachAtLeast: number;
  /** Of the weights on each candidate, by how much the largest weight is above their sum, or below their mean. */
  readonly maxOff: number;
}

/** A policy that adds up what it is shown, and keeps a few. */
function watching(seen: Seen[]) {
  return definePolicy({
    name: 'watching',
    needs: ['sums', 'last-query', 'max', 'window'],
    promptTail: 2,
    score: ({ weights, length }, { heads, newTokens }) => {
      const shown = weights.map((w) => Array.from(w.subarray(0, length)));
      const [sums, , [...largest]] = shown;
      shown.splice(2, 1);
      const off = largest.map((m, j) => Math.max(m - sums[j], sums[j] / (heads * newTokens) - m));
      seen.push({
        needs: shown.map((w) => w.reduce((a, b) => a + b, 0)),
        heads,
        fresh: newTokens,
        eachAtLeast: Math.min(...shown.flat(), ...largest),
        maxOff: Math.max(...off),
      });
      return shown[0];
    },
  });
}

describe('attention weights add up to one for every query and head, whatever the family', () => {
  let loaded = 0;

  it.each(DECODERS)('%s', async (family) => {
    await using model = await loadModel(join(FAMILIES, family), { weights: 'float32', cacheDir, threads: 1 });
    loaded++;
    for (const eachQuery of [false, true]) {
      const seen: Seen[] = [];
      const cache = model.createCache({ policy: watching(seen), cacheLength: 6, batch: 2 });
      // Rows of different lengths, longer and shorter than the cache and any window; then single tokens.
      for (const counts of [
        [9, 4],
        [3, 7],
        [1, 1],
        [0, 2],
      ]) {
        const chunk = counts.map((count, row) => Array.from({ length: count }, (_, t) => (7 * t + 3 * row + 1) % 50));
        await model.step(cache, chunk, { logits: 'none', eachQuery });
      }
      const { groups: nQueryGroups, heads: nHead } = firstSlots(model.config);
      const layers = slotLayers(model.config).length;
      expect(seen.length).toBe(7 * layers * nQueryGroups);
      for (const { needs, heads, fresh, eachAtLeast, maxOff } of seen) {
        expect(maxOff).toBeLessThan(1e-6);
        expect(heads).toBe(nHead / nQueryGroups);
        for (const [i, queries] of [fresh, 1, Math.min(2, fresh)].entries())
          expect(Math.abs(needs[i] - heads * queries)).toBeLessThan(1e-5 * heads * queries);
        expect(eachAtLeast).toBeGreaterThanOrEqual(0);
      }
    }
  });

  it('covers the families', () => {
    expect(loaded).toBeGreaterThan(70);
  });
});
