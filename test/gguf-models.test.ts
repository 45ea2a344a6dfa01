/**
 * Tiny models of each architecture as GGUF files, made by test/fixtures/make/gguf_models.py as llama.cpp's converter makes them:
 * their logits are those of the safetensors checkpoint that they were made of.
 */
import { readdirSync } from 'node:fs';
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadEncoder, loadModel } from '../src/node.ts';
import { LOGIT_TOLERANCE, largestError, readGolden, rowsOf } from './parity/case.ts';
import { caseFolder, MORE_CASES, CASES as OLDER } from './support/family-cases.ts';
import { tempFolder } from './support/temp-folder.ts';

const FOLDER = join(import.meta.dirname, 'fixtures/gguf/models');
const ENCODERS = ['bert', 'modernbert', 'nomic_bert'];
const CASES = readdirSync(FOLDER)
  .map((name) => name.replace('.gguf', ''))
  .filter((name) => !ENCODERS.includes(name));

/** YaRN of DeepSeek V3, with the same factor for the rotation and for queries and keys. */
const ONE_FACTOR = {
  beta_fast: 32,
  beta_slow: 1,
  factor: 4,
  mscale: 0.7,
  mscale_all_dim: 0.7,
  original_max_position_embeddings: 32,
  rope_theta: 10_000,
  rope_type: 'yarn',
};

/** Cases whose golden values stand under another name: GGUF files are normalised by groups, as llama.cpp does. */
const GOLDEN: Readonly<Record<string, string>> = { mamba2: 'mamba2-groups' };

describe('GGUF models', async () => {
  const cacheDir = await tempFolder('gguf-models');

  it('are of more than 20 architectures', () => {
    expect(CASES.length).toBeGreaterThan(30);
  });

  async function logitsOf(path: string, prompts: number[][]): Promise<Float32Array> {
    await using model = await loadModel(path, { weights: 'float32', cacheDir });
    const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength: 512 });
    return Float32Array.from((await model.step(cache, prompts, { logits: 'all' })).logits);
  }

  it.each(ENCODERS)(
    '%s, an encoder, has the states of its safetensors, and pools as its metadata say',
    async (name) => {
      const golden = await readGolden(join(MORE_CASES, name, 'expected.safetensors'));
      const rows = rowsOf(golden.get('input_ids')!);
      const load = (path: string) => loadEncoder(path, { weights: 'float32', cacheDir });
      await using model = await load(join(FOLDER, `${name}.gguf`));
      expect(model.pooling).toBe(name === 'bert' ? 'cls' : 'mean');
      await using original = await load(join(MORE_CASES, name));
      const [own, wanted] = [await model.encode({ ids: rows }), await original.encode({ ids: rows })];
      expect(largestError(own.data, wanted.data)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
      expect(largestError(own.data, golden.get('hidden')!.data)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
    },
  );

  /** Of a checkpoint whose config.json has what the file can't state. */
  async function changed(folder: string, changes: Readonly<Record<string, unknown>>): Promise<string> {
    const to = join(cacheDir, 'changed');
    await mkdir(to, { recursive: true });
    await copyFile(join(folder, 'model.safetensors'), join(to, 'model.safetensors'));
    const config = JSON.parse(await readFile(join(folder, 'config.json'), 'utf8'));
    await writeFile(join(to, 'config.json'), JSON.stringify({ ...config, ...changes }));
    return to;
  }

  it.each([
    ['smollm3', 'that every fourth layer rotates nothing', { no_rope_layers: null, no_rope_layer_interval: 4 }],
    ['deepseek_v3', 'a factor of the rotation', { rope_parameters: ONE_FACTOR }],
  ] as const)('of %s leave out %s', async (name, _, changes) => {
    const folder = await changed(join(MORE_CASES, name), changes);
    const prompts = [[5, 9, 11, 40, 7, 60, 8]];
    const logits = await logitsOf(join(FOLDER, `${name}.gguf`), prompts);
    expect(largestError(logits, await logitsOf(folder, prompts))).toBeLessThanOrEqual(LOGIT_TOLERANCE);
  });

  it.each(CASES.filter((name) => name !== 'smollm3' && name !== 'deepseek_v3'))(
    '%s has the logits of its safetensors',
    async (name) => {
      const folder = OLDER.includes(name) ? caseFolder(name) : join(MORE_CASES, GOLDEN[name] ?? name);
      const golden = await readGolden(join(folder, 'expected.safetensors'));
      const prompts = rowsOf(golden.get('input_ids')!);
      const logits = await logitsOf(join(FOLDER, `${name}.gguf`), prompts);
      // A checkpoint without a head has golden hidden states only.
      const wanted = golden.get('logits')?.data ?? (await logitsOf(folder, prompts));
      expect(largestError(logits, wanted)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
    },
  );
});
