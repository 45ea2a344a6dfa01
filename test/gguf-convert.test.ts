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
import { caseFolder, MORE_CASES, CASES as OLDER, ONE_FACTOR } from './support/family-cases.ts';
import { NASTY_TEXTS } from './support/nasty-texts.ts';
import { tempFolder } from './support/temp-folder.ts';

const CASES = [
  ...['llama', 'llama-headdim', 'llama-rope-llama3', 'llama-rope-linear', 'llama-rope-yarn', 'llama-bias-tied'],
  ...['mistral-nowindow', 'mixtral', 'qwen2', 'qwen2_moe', 'qwen3', 'qwen3_moe', 'gemma', 'gemma2', 'gemma3'],
  ...['phi3', 'phi3-longrope', 'gpt2', 'starcoder2', 'stablelm', 'stablelm-2', 'granite', 'olmo2', 'olmo', 'olmoe'],
  ...['cohere', 'cohere-qknorm', 'cohere2', 'nemotron', 'phi', 'phimoe', 'granitemoe', 'glm', 'bloom', 'gpt_neox'],
  ...['gpt_neox-sequential', 'gpt_bigcode', 'mpt', 'olmo3', 'glm4', 'arcee', 'seed_oss', 'ernie4_5', 'exaone4'],
  'hunyuan_v1_dense',
  ...['hunyuan_v1_moe', 'glm4_moe', 'dots1', 'minimax_m2', 'ernie4_5_moe', 'afmoe', 'gpt_oss'],
  ...[
    'deepseek_v2',
    'deepseek_v2-lite',
    'glm4_moe_lite',
    'youtu',
    'mamba',
    'falcon_mamba',
    'mamba2-groups',
    'jamba',
    'lfm2',
    'lfm2_moe',
  ],
  ...['granitemoehybrid', 'bamba', 'nemotron_h', 'qwen3_next'],
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
  async function changed(name: string, changes: Readonly<Record<string, unknown>>, into = 'odd'): Promise<string> {
    const to = join(folder, into);
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

  it.each([
    ['llama4_text', { no_rope_layers: [1, 1, 1, 0] }],
    ['deepseek_v3', { rope_parameters: ONE_FACTOR }],
  ])('%s has the same logits afterwards, with what GGUF can say', async (name, changes) => {
    const from = await changed(name, changes, `${name}-changed`);
    const file = await convert(from, `${name}.gguf`, { weights: 'f32' });
    const [own, wanted] = await Promise.all([file, from].map(logitsOf));
    expect(largestError(own, wanted)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
  });

  async function logitsOf(path: string): Promise<Float32Array> {
    await using model = await loadModel(path, { weights: 'float32', cacheDir: folder });
    const cache = model.createCache({ policy: 'dense', cacheLength: 16 });
    return (await model.step(cache, [[5, 9, 11, 40, 7, 60, 8, 21, 3, 90]], { logits: 'all' })).logits.slice();
  }

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
    for (const name of ['minicpm3', 'gemma3n', 'falcon_h1', 'qwen3_5', 'apertus', 'eurobert'])
      await expect(convert(folderOf(name), `${name}.gguf`)).rejects.toThrow(
        /can't be written to GGUF(, since its layers have .*)?; these can: llama,/,
      );
    const refused = (name: string) => convert(folderOf(name), `${name}-refused.gguf`);
    await expect(refused('falcon_h1')).rejects.toThrow(/since its layers have attention-mamba-2; these can/);
    await expect(refused('gemma3n')).rejects.toThrow(
      /since its layers have shared-attention, a low-rank branch|a low-rank branch/,
    );
    await expect(refused('mamba2')).rejects.toThrow(/norm.groups is 1, and 2 in the file/);
    await expect(refused('deepseek_v3')).rejects.toThrow(/two factors of YaRN, which GGUF can't hold in deepseek2/);
    await expect(refused('llama4_text')).rejects.toThrow(/can't hold this model: layers\[2\]/);
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
