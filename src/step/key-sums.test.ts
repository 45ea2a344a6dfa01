/**
 * Products of keys on real graphs.
 */
import { describe, expect, it } from 'vitest';
import { caseFolder } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import type { BufferChoice } from '../kvcache/buffers.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import type { AnyCacheOptions } from '../kvcache/policies.ts';
import type { ChunkOutputs } from '../kvcache/rows/chunk.ts';
import { loadModel } from '../load/load-model-node.ts';
import { range } from '../util/numbers.ts';

const cacheDir = await tempFolder('key-sums');
const text = (count: number, seed: number) => range(count).map((i) => 3 + ((i * 7 + seed * 13) % 80));
const BUFFERS: readonly BufferChoice[] = ['float32', 'float16', 'int8', 'int4', 'int8-plain', 'int4-plain'];

/** Tells what the engine gave, and may hide the products from the cache. */
function watch(cache: KVCache, isHidden: boolean): ChunkOutputs[] {
  const seen: ChunkOutputs[] = [];
  const append = cache.append.bind(cache);
  cache.append = (chunk, lease) => {
    seen.push(chunk);
    append(isHidden ? { ...chunk, keyProducts: undefined } : chunk, lease);
  };
  return seen;
}

// gpt_neox-head85 has heads of 85 numbers: blocks of 32 are filled up with zeros. gemma2 has windows; deepseek_v2's
// values are its keys.
describe.each([
  ['llama', 'ggml'],
  ['gemma2', 'ggml'],
  ['gpt_neox-head85', 'ggml'],
  ['deepseek_v2', 'ggml'],
  ['llama', 'onnx'],
  ['gemma2', 'onnx'],
  ['deepseek_v2', 'onnx'],
] as const)('%s by %s', (name, engine) => {
  it('gives the products that follow from the slots, in every buffer and row, and where groups share a budget', async () => {
    const model = await loadModel(caseFolder(name), { weights: 'float32', engine, cacheDir });
    const same = async (options: Omit<AnyCacheOptions, 'cacheLength'>) => {
      const [cache, alone] = [0, 1].map(() =>
        model.createCache({ policy: 'keydiff', cacheLength: 24, batch: 2, ...options }),
      );
      const given = watch(cache, false);
      watch(alone, true);
      // A row that is shorter than the chunk has padding; the last steps are of single tokens.
      for (const [i, lengths] of [
        [20, 11],
        [9, 9],
        [1, 1],
        [1, 0],
        [1, 1],
        [1, 1],
      ].entries()) {
        const chunk = lengths.map((count, row) => text(count, 1 + i + 5 * row));
        for (const one of [cache, alone]) await model.step(one, chunk, { logits: 'none' });
        for (const [l, { slots, groups }] of cache.shape.layers.entries())
          for (const row of slots ? [0, 1] : [])
            for (const g of range(groups)) {
              expect(cache.tokenPositions(l, row, g)).toEqual(alone.tokenPositions(l, row, g));
              const wanted = alone.scores(l, row, g)!;
              for (const [j, score] of cache.scores(l, row, g)!.entries()) expect(score).toBeCloseTo(wanted[j], 4);
            }
      }
      for (const { keyProducts } of given) expect(keyProducts!.size).toBeGreaterThan(0);
    };
    try {
      for (const buffer of BUFFERS) await same({ buffer });
      await same({ ada: true });
      await same({ ada: true, buffer: 'int8' });
    } finally {
      await model.dispose();
    }
  });
});
