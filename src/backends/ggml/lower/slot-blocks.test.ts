/**
 * Caches in 16, 8, 5 and 4 bits on real graphs.
 */
import { describe, expect, it } from 'vitest';
import { caseFolder } from '../../../../test/support/family-cases.ts';
import { furthest } from '../../../../test/support/furthest.ts';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import type { BufferChoice } from '../../../kvcache/buffers.ts';
import type { KVCache } from '../../../kvcache/kv-cache.ts';
import { loadModel } from '../../../load/load-model-node.ts';
import { range } from '../../../util/numbers.ts';

const cacheDir = await tempFolder('slot-blocks');
const open = (name: string, engine: 'ggml' | 'onnx') =>
  loadModel(caseFolder(name), { weights: 'float32', engine, cacheDir });
const text = (count: number, seed = 1) => range(count).map((i) => 3 + ((i * 7 + seed * 13) % 80));
const spread = (x: Float32Array) => Math.max(...x) - Math.min(...x);

// gpt_neox-head85 has heads of 85 numbers: two blocks of 32, and one that is filled up with zeros.
// deepseek_v2's values are a part of its keys.
describe.each([
  ['llama', 'ggml'],
  ['gemma2', 'ggml'],
  ['gpt_neox-head85', 'ggml'],
  ['deepseek_v2', 'ggml'],
  ['llama', 'onnx'],
  ['deepseek_v2', 'onnx'],
] as const)('%s by %s', (name, engine) => {
  it.each<readonly [BufferChoice]>([
    ['int8'],
    ['int5'],
    ['int4'],
    ['int8-plain'],
    ['int4-plain'],
    [{ keys: 'int8', values: 'int4' }],
    [{ keys: 'int5', values: 'int4' }],
    ['float16'],
  ])('attends to slots of %j as to the same numbers in float32', async (buffer) => {
    const model = await open(name, engine);
    try {
      const [blocks, floats] = [model.createCache({ buffer }), model.createCache()];
      for (const cache of [blocks, floats]) {
        await model.step(cache, [text(20)], { logits: 'none' });
        await model.step(cache, [text(15, 2)], { logits: 'none' });
      }
      for (const l of range(model.config.nLayer)) {
        const table = floats.store.tableOf(l)!;
        for (const slot of range(table.filled[0]))
          for (const group of floats.store.buffers[l]!.groups) {
            const { key, value } = blocks.slot(l, table.positions.data[slot], 0, group)!;
            floats.store.buffers[l]!.write({ row: 0, group, slot }, 1, key, 0, value, 0);
          }
      }
      const logits = async (cache: KVCache, chunk: number[]) => (await model.step(cache.fork(), [chunk])).logits;
      for (const chunk of [[3], text(30, 5)]) {
        const [a, b] = [await logits(blocks, chunk), await logits(floats, chunk)];
        // Single queries are rounded to 8 bits where they meet blocks.
        expect(furthest(a, b) / spread(b)).toBeLessThan(buffer === 'float16' ? 1e-3 : 0.02);
      }
    } finally {
      await model.dispose();
    }
  });
});
