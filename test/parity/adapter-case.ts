/**
 * @file An adapter's case: a folder with case.json (which names the family's case below it), an adapter of PEFT or
 * LitGPT, and expected.safetensors. It is loaded merged and live, and all logits are compared with the golden ones and
 * with each other, in one chunk and token by token.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as v from 'valibot';
import { type LanguageModel, loadModel } from '../../src/node.ts';
import { type CaseKind, type CaseResult, largestError, readGolden } from './case.ts';
import { findModel } from './policy-case.ts';

/** Largest error of a logit, in float32. */
const LOGIT_TOLERANCE = 5e-4;
/**
 * How much merged and live, one chunk and many, may differ: so much, or (on processors that add in another order) so
 * much of the largest logit.
 */
const SAME_TOLERANCE = 1e-4;
const SAME_SHARE = 1e-5;
const cacheLength = 512;

const AdapterCase = v.looseObject({ base: v.string() });

export const adapterCase: CaseKind = {
  name: 'adapter',
  async matches(path, entries) {
    if (!entries?.includes('case.json') || !entries.includes('expected.safetensors')) return false;
    return v.is(AdapterCase, JSON.parse(await readFile(join(path, 'case.json'), 'utf8')));
  },
  async run(path, context): Promise<CaseResult> {
    const { base } = v.parse(AdapterCase, JSON.parse(await readFile(join(path, 'case.json'), 'utf8')));
    const golden = await readGolden(join(path, 'expected.safetensors'));
    const [ids, logits] = [golden.get('input_ids'), golden.get('logits')];
    if (!ids || !logits) throw new Error('expected.safetensors holds no input_ids and logits');
    const [rows, length] = ids.shape;
    const prompts = Array.from({ length: rows }, (_, r) => Array.from(ids.data.subarray(r * length, (r + 1) * length)));
    const folder = findModel(base, path, context);
    const options = { weights: 'float32', cacheDir: context.cacheDir } as const;
    const same = Math.max(SAME_TOLERANCE, SAME_SHARE * logits.data.reduce((a, b) => Math.max(a, Math.abs(b)), 0));
    const failures: string[] = [];
    const made: Float32Array[] = [];
    for (const live of [false, true]) {
      await using model = await loadModel(folder, { ...options, adapters: [{ path, live }] });
      const how = live ? 'live' : 'merged';
      const whole = await logitsOf(model, prompts, length);
      const error = largestError(whole, logits.data);
      if (!(error <= LOGIT_TOLERANCE)) failures.push(`${how}: logits differ by ${error.toExponential(2)}`);
      const apart = largestError(await logitsOf(model, prompts, 1), whole);
      if (!(apart <= same)) failures.push(`${how}: token by token differs by ${apart.toExponential(2)}`);
      made.push(whole);
    }
    const between = largestError(made[0], made[1]);
    if (!(between <= same)) failures.push(`merged and live differ by ${between.toExponential(2)}`);
    const error = Math.max(...made.map((values) => largestError(values, logits.data)));
    return { error, failures, note: `merged and live, ${between.toExponential(1)} apart` };
  },
};

/** All logits of a batch, in chunks of one length, row after row. */
async function logitsOf(model: LanguageModel, prompts: readonly number[][], chunk: number): Promise<Float32Array> {
  const V = model.config.vocabSize;
  const [{ length }] = prompts;
  const cache = model.createCache({ policy: 'dense', batch: prompts.length, cacheLength });
  const out = new Float32Array(prompts.length * length * V);
  for (let at = 0; at < length; at += chunk) {
    const { logits } = await model.step(
      cache,
      prompts.map((ids) => ids.slice(at, at + chunk)),
      { logits: 'all' },
    );
    prompts.forEach((_, row) => {
      out.set(logits.subarray(row * chunk * V, (row + 1) * chunk * V), (row * length + at) * V);
    });
  }
  return out;
}
