/**
 * Golden values of test/fixtures/unmasked were made with transformers 4.57 (fixtures/make/families.py without its corrections), of the
 * same weights as those of test/fixtures/families.
 */
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { caseFolder } from '../support/family-cases.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { LOGIT_TOLERANCE, readGolden } from './case.ts';
import { compareUnmasked } from './unmasked.ts';

const cacheDir = await tempFolder('unmasked');
const FORGETFUL = ['moshi', 'mimi_transformer', 'recurrent_gemma'];

it.each(FORGETFUL)('tells values of %s that were made without a mask', async (name) => {
  const golden = await readGolden(join(import.meta.dirname, `../fixtures/unmasked/${name}.safetensors`));
  const found = await compareUnmasked(caseFolder(name), cacheDir, golden);
  expect(found!.error).toBeLessThan(LOGIT_TOLERANCE);
  expect(found!.note).toMatch(/without (a causal mask|the window)/);
  (golden.get('logits') ?? golden.get('hidden'))!.data[5] += 0.01;
  expect(await compareUnmasked(caseFolder(name), cacheDir, golden)).toBeNull();
});

it.each([...FORGETFUL, 'llama'])('takes no others of %s', async (name) => {
  const golden = await readGolden(join(caseFolder(name), 'expected.safetensors'));
  expect(await compareUnmasked(caseFolder(name), cacheDir, golden)).toBeNull();
});
