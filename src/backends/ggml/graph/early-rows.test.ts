import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { tempFolder } from '../../../../test/support/temp-folder.ts';
import { loadModel } from '../../../node.ts';
import { range } from '../../../util/numbers.ts';

const FAMILIES = join(import.meta.dirname, '../../../../test/fixtures/families');
const cacheDir = await tempFolder('early-rows');

/** Families whose last layers differ: plain and gated MLPs, parallel ones, experts, states, several streams. */
const NAMES = [
  'llama',
  'gpt2',
  'gpt_neox',
  'phi',
  'mixtral',
  'qwen2_moe',
  'gemma2',
  'gemma3n',
  'mamba2',
  'recurrent_gemma',
];

describe('the rows that want logits, taken early', () => {
  const there = NAMES.filter((name) => readdirSync(FAMILIES).includes(name));
  it('are found', () => expect(there.length).toBeGreaterThan(5));

  it.each(there)('give the logits of all rows: %s', async (name) => {
    await using model = await loadModel(join(FAMILIES, name), {
      weights: 'float32',
      cacheDir,
      threads: 1,
      engine: 'ggml',
    });
    const chunks = [range(5), range(4), range(1)].map((ids, at) => ids.map((i) => 3 + 7 * at + i));
    const [all, some] = [0, 1].map(() => model.createCache({ policy: 'dense', cacheLength: 16 }));
    for (const [i, chunk] of chunks.entries()) {
      const whole = (await model.step(all, [chunk], { logits: 'all' })).logits;
      const part = (await model.step(some, [chunk], { logits: i === 0 ? 'none' : 'last' })).logits;
      const V = whole.length / chunk.length;
      expect(part.length).toBe(i === 0 ? 0 : V);
      const last = whole.subarray(whole.length - V);
      for (let v = 0; v < part.length; v++) expect(Math.abs(part[v] - last[v])).toBeLessThan(1e-4);
    }
  });
});
