import { describe, expect, it } from 'vitest';
import { anyTable } from '../../test/support/calibration.ts';
import { caseFolder } from '../../test/support/family-cases.ts';
import { furthest } from '../../test/support/furthest.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import { definePolicy } from '../kvcache/policy/define-policy.ts';
import { loadModel } from '../load/load-model-node.ts';
import { range } from '../util/numbers.ts';

/** h2o's scores; group g of layer l keeps 6 + 9·((l + g) mod 3) slots, or all the same number. */
const heavy = (name: string, budget?: (layer: number, group: number) => number) =>
  definePolicy({
    name,
    needs: ['sums'],
    sinks: 2,
    recent: () => 3,
    budget,
    score: ({ scores, weights: [sums], length }) => {
      for (let j = 0; j < length; j++) scores[j] += sums[j];
      return undefined;
    },
  });
const slotsOf = (layer: number, group: number) => 6 + 9 * ((layer + group) % 3);
const RAGGED = heavy('ragged', slotsOf);

const cacheDir = await tempFolder('ragged');
const text = (count: number, seed = 1) => range(count).map((i) => 3 + ((i * 7 + seed * 13) % 80));

async function logitsOf(model: LanguageModel, cache: KVCache, chunks: readonly number[]): Promise<Float32Array> {
  let last = new Float32Array(0);
  for (const [i, count] of chunks.entries())
    last = Float32Array.from(
      (
        await model.step(
          cache,
          range(cache.batch).map((row) => text(count, 1 + i + 5 * row)),
        )
      ).logits,
    );
  return last;
}

// bloom adds slopes by head, gpt_oss has sinks, gemma2 windows and a softcap.
describe.each([
  ['llama', 'ggml'],
  ['llama', 'onnx'],
  ['gemma2', 'ggml'],
  ['gpt_oss', 'ggml'],
  ['gpt_oss', 'onnx'],
  ['bloom', 'ggml'],
  ['bloom', 'onnx'],
] as const)('groups with slots of their own: %s by %s', (name, engine) => {
  it('gives what a dense cache gives as long as all fits, whatever the buffer and the rows', async () => {
    const model = await loadModel(caseFolder(name), { weights: 'float32', engine, cacheDir });
    try {
      const wide = heavy('wide', (layer, group) => 130 + slotsOf(layer, group));
      for (const [buffer, bound] of [
        ['float32', 1e-4],
        ['int4', 1e-3],
      ] as const) {
        const run = (options: Partial<AnyCacheOptions>) =>
          logitsOf(model, model.createCache({ cacheLength: 130, buffer, batch: 2, ...options }), [17, 1, 9, 70, 1]);
        expect(furthest(await run({ policy: wide }), await run({ policy: 'dense' }))).toBeLessThan(bound);
      }
    } finally {
      await model.dispose();
    }
  });

  it('computes rows of different lengths as each alone, in forks and snapshots, too', async () => {
    const model = await loadModel(caseFolder(name), { weights: 'float32', engine, cacheDir });
    try {
      const open = (batch: number) => {
        const { shape } = model.createCache({ policy: 'dense', cacheLength: 1 });
        const table = anyTable(shape, 3);
        return model.createCache({ policy: 'routed(lastrec, lastrec)', table, cacheLength: 12, batch });
      };
      const [rows, next] = [
        [text(31), text(18, 2)],
        [text(5, 3), text(2, 4)],
      ];
      const batch = open(2);
      const heldBy = (cache: KVCache, row: number) =>
        cache.shape.layers.flatMap(({ slots, groups }, l) =>
          range(slots ? groups : 0).map((g) => cache.tokenPositions(l, row, g)),
        );
      await model.step(batch, rows);
      expect(new Set(heldBy(batch, 0).map(({ length }) => length)).size).toBeGreaterThan(1);
      const saved = await model.restore(await model.snapshot(batch));
      const V = model.config.vocabSize;
      for (const cache of [batch.fork(), saved, batch]) {
        const logits = Float32Array.from((await model.step(cache, next)).logits);
        for (const [row, tokens] of rows.entries()) {
          const alone = open(1);
          await model.step(alone, [tokens]);
          const own = (await model.step(alone, [next[row]])).logits;
          expect(furthest(logits.subarray(row * V, (row + 1) * V), Float32Array.from(own))).toBeLessThan(1e-4);
          expect(heldBy(cache, row)).toEqual(heldBy(alone, 0));
        }
      }
    } finally {
      await model.dispose();
    }
  });

  it('holds as many slots as the budgets say, in no more memory', async () => {
    const model = await loadModel(caseFolder(name), { weights: 'float32', engine, cacheDir });
    try {
      const cache = model.createCache({ policy: RAGGED, cacheLength: 15, batch: 2 });
      await logitsOf(model, cache, [30, 12, 1, 1]);
      for (const [l, { slots, groups, window }] of cache.shape.layers.entries()) {
        if (!slots) continue;
        for (const g of range(groups)) {
          const budget = Math.min(slotsOf(l, g), (window ?? Number.POSITIVE_INFINITY) - 1);
          const positions = cache.tokenPositions(l, 1, g);
          expect(positions.length).toBe(Math.max(1, budget));
          expect(positions.at(-1)).toBe(43);
        }
      }
      // No group has memory for more than its own slots.
      let bytes = 0;
      for (const [l, { slots, groups, window }] of cache.shape.layers.entries())
        for (const g of range(slots ? groups : 0))
          bytes += 2 * Math.min(slotsOf(l, g), (window ?? 100) - 1) * cache.store.buffers[l]!.slotBytes;
      expect(cache.memory().keysAndValues).toBe(bytes);
      expect(cache.memory().keysAndValuesLimit).toBe(bytes);
    } finally {
      await model.dispose();
    }
  });
});
