/**
 * Tiny models of each architecture as GGUF files, made by test/fixtures/make/gguf_models.py as llama.cpp's converter
 * makes them: their logits are those of the safetensors checkpoint that they were made of.
 */
import { readdirSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadEncoder, loadModel } from '../src/node.ts';
import { LOGIT_TOLERANCE, largestError, readGolden, rowsOf } from './parity/case.ts';
import { caseFolder, MORE_CASES, CASES as OLDER, ONE_FACTOR } from './support/family-cases.ts';
import { tempFolder } from './support/temp-folder.ts';

const FOLDER = join(import.meta.dirname, 'fixtures/gguf/models');
/** How each is pooled. */
const POOLED: Readonly<Record<string, string>> = {
  bert: 'cls',
  modernbert: 'mean',
  nomic_bert: 'mean',
  eurobert: 'mean',
  'llama-embed': 'mean',
  'gemma3-embedding': 'mean',
  'xlm-roberta': 'cls',
};
const ENCODERS = Object.keys(POOLED);
const CASES = readdirSync(FOLDER)
  .map((name) => name.replace('.gguf', ''))
  .filter((name) => !ENCODERS.includes(name));

/** Cases whose golden values stand under another name: GGUF files are normalized by groups, as llama.cpp does. */
const GOLDEN: Readonly<Record<string, string>> = {
  mamba2: 'mamba2-groups',
  // Architectures that compute what a family of another name does.
  exaone: 'llama-rope-llama3',
  internlm2: 'llama',
  xverse: 'llama',
  baichuan: 'llama',
  minicpm: 'granite',
  qwen: 'qwen2',
  qwen2vl: 'qwen2_vl_text',
  'llama-embed': 'eurobert',
};
const folderOf = (name: string): string => {
  const own = GOLDEN[name] ?? name;
  if (own === 'deepseek') return join(FOLDER, '../deepseek');
  return OLDER.includes(own) ? caseFolder(own) : join(MORE_CASES, own);
};

describe('GGUF models', async () => {
  const cacheDir = await tempFolder('gguf-models');

  it('are more than 70', () => {
    expect(CASES.length).toBeGreaterThan(70);
  });

  async function logitsOf(path: string, prompts: number[][]): Promise<Float32Array> {
    await using model = await loadModel(path, { weights: 'float32', cacheDir });
    const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength: 512 });
    return Float32Array.from((await model.step(cache, prompts, { logits: 'all' })).logits);
  }

  it.each(ENCODERS)(
    '%s, an encoder, has the states of its safetensors, and pools as its metadata say',
    async (name) => {
      const folder = folderOf(name);
      const golden = await readGolden(join(folder, 'expected.safetensors'));
      const rows = rowsOf(golden.get('input_ids')!);
      const load = (path: string) => loadEncoder(path, { weights: 'float32', cacheDir });
      await using model = await load(join(FOLDER, `${name}.gguf`));
      expect(model.pooling).toBe(POOLED[name]);
      await using original = await load(folder);
      const [own, wanted] = [await model.encode({ ids: rows }), await original.encode({ ids: rows })];
      expect(largestError(own.data, wanted.data)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
      expect(largestError(own.data, golden.get('hidden')!.data)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
    },
  );

  /** Of a checkpoint whose config.json has what the file can't state. */
  async function changed(folder: string, changes: Readonly<Record<string, unknown>>): Promise<string> {
    const to = join(cacheDir, basename(folder));
    await mkdir(to, { recursive: true });
    await copyFile(join(folder, 'model.safetensors'), join(to, 'model.safetensors'));
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
    await writeFile(join(to, 'config.json'), JSON.stringify({ ...config, ...changes }));
    return to;
  }

  const LEFT_OUT = [
    ['smollm3', 'that every fourth layer rotates nothing', { no_rope_layers: null, no_rope_layer_interval: 4 }],
    ['deepseek_v3', 'a factor of the rotation', { rope_parameters: ONE_FACTOR }],
    ['minicpm3', 'factors of embedding, branches and head', { scale_emb: 12, scale_depth: 1.4, dim_model_base: 256 }],
    ['llama4_text', 'which layers do not rotate', { no_rope_layers: [1, 1, 1, 0] }],
    ['minicpm', 'a factor of attention', { attention_multiplier: 8 ** -0.5 }],
  ] as const;
  it.each(LEFT_OUT)('of %s leave out %s', async (name, _, changes) => {
    const folder = await changed(folderOf(name), changes);
    const prompts = [[5, 9, 11, 40, 7, 60, 8]];
    const logits = await logitsOf(join(FOLDER, `${name}.gguf`), prompts);
    expect(largestError(logits, await logitsOf(folder, prompts))).toBeLessThanOrEqual(LOGIT_TOLERANCE);
  });

  it.each(CASES.filter((name) => !LEFT_OUT.some(([other]) => name === other)))(
    '%s has the logits of its safetensors',
    async (name) => {
      const folder = folderOf(name);
      const golden = await readGolden(join(folder, 'expected.safetensors'));
      const prompts = rowsOf(golden.get('input_ids')!);
      const logits = await logitsOf(join(FOLDER, `${name}.gguf`), prompts);
      // A checkpoint without a head has golden hidden states only.
      const wanted = golden.get('logits')?.data ?? (await logitsOf(folder, prompts));
      expect(largestError(logits, wanted)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
    },
  );
});
