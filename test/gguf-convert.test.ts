/**
 * Models written as GGUF: what is read back has the logits of what was written.
 */
import { copyFile, mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openCheckpointFolder } from '../src/checkpoint/open-node.ts';
import { writeGguf } from '../src/load/convert/convert-node.ts';
import { loadModel } from '../src/node.ts';
import { argmax, LOGIT_TOLERANCE, largestError, readGolden, rowsOf } from './parity/case.ts';
import { caseFolder, MORE_CASES, CASES as OLDER } from './support/family-cases.ts';
import { NASTY_TEXTS } from './support/nasty-texts.ts';
import { tempFolder } from './support/temp-folder.ts';

const CASES = [
  ...['llama', 'llama-headdim', 'llama-rope-llama3', 'llama-rope-linear', 'llama-rope-yarn', 'llama-bias-tied'],
  ...['mistral-nowindow', 'mixtral', 'qwen2', 'qwen2_moe', 'qwen3', 'qwen3_moe', 'gemma', 'gemma2', 'gemma3'],
  ...['phi3', 'phi3-longrope', 'gpt2', 'starcoder2', 'stablelm', 'stablelm-2', 'granite', 'olmo2', 'olmo', 'olmoe'],
  ...['cohere', 'cohere-qknorm', 'cohere2', 'nemotron', 'phi', 'phimoe', 'granitemoe', 'glm', 'bloom', 'gpt_neox'],
  ...['gpt_neox-sequential', 'gpt_bigcode', 'mpt', 'olmo3', 'glm4', 'arcee', 'seed_oss', 'ernie4_5', 'exaone4'],
  'hunyuan_v1_dense',
];
const folderOf = (name: string): string => (OLDER.includes(name) ? caseFolder(name) : join(MORE_CASES, name));
const TINY = join(import.meta.dirname, '../models/tiny');

describe('writing GGUF', async () => {
  const folder = await tempFolder('gguf-convert');

  async function convert(from: string, to: string, options: Parameters<typeof writeGguf>[2] = {}): Promise<string> {
    const checkpoint = await openCheckpointFolder(from);
    try {
      return (await writeGguf(checkpoint, join(folder, to), options)).file;
    } finally {
      await checkpoint.close();
    }
  }

  /** A checkpoint with another config.json. */
  async function changed(name: string, changes: Readonly<Record<string, unknown>>): Promise<string> {
    const to = join(folder, 'odd');
    await mkdir(to);
    await copyFile(join(folderOf(name), 'model.safetensors'), join(to, 'model.safetensors'));
    const config = JSON.parse(await readFile(join(folderOf(name), 'config.json'), 'utf8'));
    await writeFile(join(to, 'config.json'), JSON.stringify({ ...config, ...changes }));
    return to;
  }

  it.each(CASES)('%s has the same logits afterwards', async (name) => {
    const file = await convert(folderOf(name), `${name}.gguf`, { weights: 'f32' });
    const golden = await readGolden(join(folderOf(name), 'expected.safetensors'));
    await using model = await loadModel(file, { weights: 'float32', cacheDir: folder });
    const prompts = rowsOf(golden.get('input_ids')!);
    const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength: 512 });
    const { logits } = await model.step(cache, prompts, { logits: 'all' });
    expect(largestError(logits, golden.get('logits')!.data)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
  });

  it('stores matrices in the format that is asked for, and writes as much as that takes', async () => {
    const sizes: Record<string, number> = {};
    const next: Record<string, number> = {};
    const prompt = [5, 9, 100, 7, 300, 41];
    for (const weights of ['f32', 'bf16', 'f16', 'q8_0', 'q4_0'] as const) {
      const file = await convert(TINY, `tiny-${weights}.gguf`, { weights });
      sizes[weights] = (await readFile(file)).length;
      const checkpoint = await openCheckpointFolder(file);
      const formats = new Map([...checkpoint.tensors].map(([name, tensor]) => [name, tensor.format]));
      expect(formats.get('model.layers.0.mlp.down_proj.weight')).toBe(weights);
      expect(formats.get('model.layers.0.input_layernorm.weight')).toBe('f32');
      expect(formats.get('model.embed_tokens.weight')).toBe(weights === 'q4_0' ? 'q8_0' : weights);
      await checkpoint.close();
      await using model = await loadModel(file, { weights: 'float32', cacheDir: folder });
      next[weights] = argmax(await model.prefill(model.createCache({ policy: 'dense', cacheLength: 64 }), prompt));
    }
    expect(sizes.f16).toBeLessThan(sizes.f32 * 0.6);
    expect(sizes.q8_0).toBeLessThan(sizes.f16 * 0.65);
    expect(sizes.q4_0).toBeLessThan(sizes.q8_0 * 0.85);
    expect(new Set([next.f32, next.f16, next.bf16, next.q8_0]).size).toBe(1);
  });

  it('keeps the tokenizer', async () => {
    const file = await convert(TINY, 'tokens.gguf');
    await using made = await loadModel(file, { cacheDir: folder });
    await using original = await loadModel(TINY, { cacheDir: folder });
    for (const text of NASTY_TEXTS) expect(made.tokenizer!.encode(text)).toEqual(original.tokenizer!.encode(text));
    expect(made.tokenizer!.bosTokenId).toBe(original.tokenizer!.bosTokenId);
    expect(made.tokenizer!.eosTokenId).toBe(original.tokenizer!.eosTokenId);
  });

  it('refuses what GGUF can not hold, and never writes over a file', async () => {
    await expect(convert(caseFolder('mistral'), 'window.gguf')).rejects.toThrow(/sliding window of/);
    await expect(convert(caseFolder('llama-rope-dynamic'), 'dynamic.gguf')).rejects.toThrow(/scaled by dynamic/);
    await expect(convert(caseFolder('jetmoe'), 'jetmoe.gguf')).rejects.toThrow(/of type jetmoe can't be written/);
    await expect(convert(folderOf('smollm3'), 'smollm3.gguf')).rejects.toThrow(/layer \d rotates/);
    for (const name of ['minicpm3', 'mamba', 'gemma3n', 'llama4_text', 'afmoe', 'eurobert'])
      await expect(convert(folderOf(name), `${name}.gguf`)).rejects.toThrow(
        /can't be written to GGUF; these can: llama,/,
      );
    const odd = await changed('qwen2', { hidden_act: 'gelu' });
    await expect(convert(odd, 'odd.gguf')).rejects.toThrow(/can't hold this model: .*activation is "gelu"/);
    expect((await readdir(folder)).filter((file) => /smollm3|odd/.test(file))).toEqual(['odd']);
    const file = await convert(caseFolder('llama'), 'twice.gguf');
    const bytes = await readFile(file);
    await expect(convert(caseFolder('qwen2'), 'twice.gguf')).rejects.toThrow(/is there already/);
    expect(await readFile(file)).toEqual(bytes);
    const weights = 'q5_0' as 'q4_0';
    await expect(convert(caseFolder('llama'), 'x.gguf', { weights })).rejects.toThrow(/no format "q5_0"/);
  });
});
