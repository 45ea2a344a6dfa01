/**
 * Tiny models of each architecture as GGUF files, made by test/fixtures/make/gguf_models.py as llama.cpp's converter makes them:
 * their logits are those of the safetensors checkpoint that they were made of.
 */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../src/node.ts';
import { LOGIT_TOLERANCE, largestError, readGolden, rowsOf } from './parity/case.ts';
import { caseFolder } from './support/family-cases.ts';
import { tempFolder } from './support/temp-folder.ts';

const FOLDER = join(import.meta.dirname, 'fixtures/gguf/models');
const CASES = readdirSync(FOLDER).map((name) => name.replace('.gguf', ''));

describe('GGUF models', async () => {
  const cacheDir = await tempFolder('gguf-models');

  it('are of more than 20 architectures', () => {
    expect(CASES.length).toBeGreaterThan(30);
  });

  it.each(CASES)('%s has the logits of its safetensors', async (name) => {
    const golden = await readGolden(join(caseFolder(name), 'expected.safetensors'));
    await using model = await loadModel(join(FOLDER, `${name}.gguf`), { weights: 'float32', cacheDir });
    const prompts = rowsOf(golden.get('input_ids')!);
    const cache = model.createCache({ batch: prompts.length, cacheLength: 512 });
    const { logits } = await model.step(cache, prompts, { logits: 'all' });
    expect(largestError(logits, golden.get('logits')!.data)).toBeLessThanOrEqual(LOGIT_TOLERANCE);
  });
});
