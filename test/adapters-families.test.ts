/**
 * A random LoRA on every matrix that a family's modules have, and replaced norms: merged and live, alone and in a
 * batch. KEYHOLD_ALL_FAMILIES=1 tries all families instead of those that differ most.
 */
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadModel } from '../src/node.ts';
import { largestError } from './parity/case.ts';
import { LITGPT_FILES, loraOnAll, matrix, openBase, type TestAdapter, writeTestAdapter } from './support/adapters.ts';
import { CASES, caseFolder, firstSlots } from './support/family-cases.ts';
import { f32, type TestTensor } from './support/safetensors-bytes.ts';
import { tempFolder } from './support/temp-folder.ts';

const folder = await tempFolder('adapter-families');
const cacheDir = join(folder, 'cache');
const DIFFERENT = [
  'opt-350m-like',
  'qwen2_moe',
  'gemma2',
  'codegen',
  'bloom',
  'cohere',
  'granitemoe',
  'phi-qknorm-gqa',
];
/**
 * Encoders, and layers that attend to an image: adapters can be merged into them, and are refused by name when they are
 * to be live.
 */
const MERGED_ONLY = ['esm', 'mimi_transformer', 'mllama_text', 'pixtral_vision'];
const ALL = CASES.filter((name) => !MERGED_ONLY.includes(name));
const names = process.env.KEYHOLD_ALL_FAMILIES ? ALL : DIFFERENT;
const PROMPTS = [
  [5, 6, 7, 8, 9],
  [10, 11, 12],
  [20, 21, 22, 23],
];

/** Gates and prefixes on the last layers that have attention. */
async function prefixes(name: string): Promise<TestAdapter> {
  const { base, close } = await openBase(name);
  const { nLayer, nEmbd } = base.config;
  const { heads: nHead } = firstSlots(base.config);
  let start = nLayer;
  while (start > 0 && base.parts.has(`h.${start - 1}.attn.k`)) start--;
  await close();
  const tensors: Record<string, TestTensor> = {};
  for (let l = start; l < nLayer; l++) {
    tensors[`transformer.h.${l}.attn.adapter_wte.weight`] = matrix(3, nEmbd, l);
    tensors[`transformer.h.${l}.attn.gating_factor`] = f32([nHead], new Array(nHead).fill(0.5));
  }
  return { settings: { kind: 'adapter', adapter_prompt_length: 3, adapter_start_layer: start }, tensors };
}

test.each(names)('%s', async (name) => {
  const sources = [
    { path: await writeTestAdapter(join(folder, name, 'lora'), await loraOnAll(name)), name: 'lora' },
    { path: await writeTestAdapter(join(folder, name, 'prefix'), await prefixes(name), LITGPT_FILES), name: 'prefix' },
  ];
  const options = { weights: 'float32', cacheDir } as const;
  const model = caseFolder(name);
  await using live = await loadModel(model, { ...options, adapters: sources.map((s) => ({ ...s, live: true })) });
  const V = live.config.vocabSize;
  const batch = live.createCache({ policy: 'dense', batch: 3, cacheLength: 32 });
  const rowAdapters = ['lora', [], 'prefix'];
  const { logits } = await live.step(batch, PROMPTS, { logits: 'all', rowAdapters });
  let at = 0;
  for (const [row, adapters] of [[sources[0]], [], [sources[1]]].entries()) {
    await using merged = await loadModel(model, { ...options, adapters });
    const cache = merged.createCache({ policy: 'dense', cacheLength: 32 });
    const alone = await merged.prefill(cache, PROMPTS[row], { logits: 'all' });
    const own = logits.subarray(at * V, (at + PROMPTS[row].length) * V);
    const size = alone.reduce((most, x) => (x > -1e20 ? Math.max(most, Math.abs(x)) : most), 1);
    expect(largestError(own, alone), `row ${row}`).toBeLessThan(2e-5 * size);
    const cache2 = live.createCache({ policy: 'dense', cacheLength: 32 });
    const single = await live.prefill(cache2, PROMPTS[row], { logits: 'all', adapters: rowAdapters[row] });
    expect(largestError(single, alone), `row ${row} alone`).toBeLessThan(2e-5 * size);
    at += PROMPTS[row].length;
  }
});
