/**
 * LoRA in GGUF, made by test/fixtures/make/gguf_lora.py as llama.cpp's converter does: merged and live, the model has
 * the logits of PEFT.
 */
import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { LAYOUTS } from '../src/checkpoint/gguf/layouts.ts';
import { openCheckpointFolder } from '../src/checkpoint/open-node.ts';
import { loadModel } from '../src/node.ts';
import { LOGIT_TOLERANCE, largestError, readGolden, rowsOf } from './parity/case.ts';
import { caseFolder } from './support/family-cases.ts';
import { loraOf } from './support/gguf-lora.ts';
import { tempFolder } from './support/temp-folder.ts';

const FIXTURES = join(import.meta.dirname, 'fixtures');
const lora = (name: string) => join(FIXTURES, 'gguf/lora', `${name}.gguf`);

/**
 * Files of architectures that compute what another family does: their adapters are not read. Encoders write no logits.
 */
const KIN = /^(baichuan|deepseek|exaone|internlm2|minicpm|qwen|qwen2vl|xverse|gemma3-embedding)\.gguf$/;

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

  const IDS = [5, 9, 11, 40, 7, 60, 8, 33];
  const logitsOf = async (path: string, adapter?: { path: string; live: boolean }) => {
    await using model = await loadModel(path, { ...options, adapters: adapter ? [adapter] : [] });
    const cache = model.createCache({ policy: 'dense', cacheLength: 16 });
    const chosen = adapter?.live ? { rowAdapters: [basename(adapter.path, '.gguf')] } : {};
    return (await model.step(cache, [IDS], { logits: 'all', ...chosen })).logits.slice();
  };

  /** What no LoRA of llama.cpp changes: embeddings, vectors, convolutions and other parameters of recurrent layers. */
  const NO_LINEAR = /token_embd|position_embd|norm|conv|ssm_[ad]$|\.bias$/;
  /** Matrices that are parts of several of the model's own, which lie between each other's rows. */
  const REFUSED: Readonly<Record<string, readonly string[]>> = {
    deepseek_v2: ['attn_kv_b'],
    qwen3_next: ['ssm_ba', 'attn_q'],
  };
  const models = await readable();

  /** Models of families whose adapters are read, and the families. */
  async function readable(): Promise<ReadonlyMap<string, string>> {
    const found = new Map<string, string>();
    for (const file of readdirSync(join(FIXTURES, 'gguf/models'))) {
      const checkpoint = await openCheckpointFolder(join(FIXTURES, 'gguf/models', file));
      const family = String(checkpoint.config.model_type);
      const isWritten = Object.hasOwn(LAYOUTS, family) && !KIN.test(file);
      if (isWritten) found.set(basename(file, '.gguf'), family);
      await checkpoint.close();
    }
    return found;
  }

  it('is tried with every family for which it is read', () => {
    const families = new Set(models.values());
    // Files of these are read as another family.
    expect(Object.keys(LAYOUTS).filter((family) => !families.has(family))).toEqual([
      'mistral',
      'glm4_moe_lite',
      'bamba',
    ]);
  });

  it.each([...models.keys()])('on %s is added to the rows of its tensors', async (name) => {
    const base = join(FIXTURES, 'gguf/models', `${name}.gguf`);
    const file = new Uint8Array(await readFile(base));
    const [path, whole] = [join(cacheDir, `${name}-lora.gguf`), join(cacheDir, `${name}-merged.gguf`)];
    const write = async (isChanged: (tensor: string) => boolean) => {
      const { adapter, merged } = await loraOf(file, isChanged);
      await writeFile(path, adapter);
      await writeFile(whole, merged);
    };
    const refused = REFUSED[name] ?? [];
    const isOf = (tensor: string, module: string) => tensor.includes(`.${module}.`);
    for (const module of refused) {
      await write((tensor) => isOf(tensor, module));
      await expect(logitsOf(base, { path, live: false })).rejects.toThrow(/which is not supported|have shapes/);
    }
    await write((tensor) => !NO_LINEAR.test(tensor) && !refused.some((module) => isOf(tensor, module)));
    const wanted = await logitsOf(whole);
    expect(largestError(wanted, await logitsOf(base))).toBeGreaterThan(100 * LOGIT_TOLERANCE);
    for (const live of [false, true])
      expect(largestError(await logitsOf(base, { path, live }), wanted), `live: ${live}`).toBeLessThanOrEqual(
        LOGIT_TOLERANCE,
      );
  });
});
