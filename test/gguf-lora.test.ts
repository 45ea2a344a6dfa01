/**
 * LoRA in GGUF, made by test/fixtures/make/gguf_lora.py as llama.cpp's converter does: merged and live, the model has the logits of PEFT.
 */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../src/node.ts';
import { LOGIT_TOLERANCE, largestError, readGolden, rowsOf } from './parity/case.ts';
import { caseFolder } from './support/family-cases.ts';
import { tempFolder } from './support/temp-folder.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const lora = (name: string) => join(FIXTURES, 'gguf/lora', `${name}.gguf`);

describe('a LoRA in GGUF', async () => {
  const cacheDir = await tempFolder('gguf-lora');
  const options = { weights: 'float32', cacheDir } as const;

  it.each([
    ['peft-lora-llama', caseFolder('llama')],
    ['peft-lora-llama', join(FIXTURES, 'gguf/models/llama.gguf')],
    ['peft-lora-gpt2', caseFolder('gpt2')],
    ['peft-lora-gpt2', join(FIXTURES, 'gguf/models/gpt2.gguf')],
  ])('%s on %s', async (name, base) => {
    const golden = await readGolden(join(FIXTURES, 'adapters', name, 'expected.safetensors'));
    const prompts = rowsOf(golden.get('input_ids')!);
    for (const live of [false, true]) {
      await using model = await loadModel(base, { ...options, adapters: [{ path: lora(name), live }] });
      const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength: 64 });
      const { logits } = await model.step(cache, prompts, {
        logits: 'all',
        ...(live ? { rowAdapters: prompts.map(() => name) } : {}),
      });
      expect(largestError(logits, golden.get('logits')!.data), `live: ${live}`).toBeLessThanOrEqual(LOGIT_TOLERANCE);
    }
  });

  it('is refused for another base, and where it is none', async () => {
    const on = (base: string, path: string) => loadModel(base, { ...options, adapters: [{ path }] });
    await expect(on(caseFolder('gpt2'), lora('peft-lora-llama'))).rejects.toThrow(
      /was made for llama, but .*is gpt2 in GGUF/,
    );
    await expect(on(caseFolder('jetmoe'), lora('peft-lora-llama'))).rejects.toThrow(
      /for which adapters in GGUF are not read/,
    );
    await expect(on(caseFolder('llama-headdim'), lora('peft-lora-llama'))).rejects.toThrow(/have shapes \[4,32\]/);
    await expect(on(caseFolder('llama'), join(FIXTURES, 'gguf/models/llama.gguf'))).rejects.toThrow(/not an adapter/);
    await expect(loadModel(lora('peft-lora-llama'), options)).rejects.toThrow(/is an adapter \(LoRA\), not a model/);
  });
});
