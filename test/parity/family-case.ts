/**
 * @file A family's case: a folder with config.json, model.safetensors and expected.safetensors. The checkpoint is loaded as a
 * user would load it, in float32; all logits are compared, in one chunk and in chunks of several lengths, and the greedy
 * tokens that come out of the cache one after the other.
 */
import { join } from 'node:path';
import { type LanguageModel, loadModel } from '../../src/node.ts';
import { argmax, type CaseKind, type CaseResult, type Golden, largestError, readGolden } from './case.ts';

/** Largest error of a logit, in float32 against float64. */
export const LOGIT_TOLERANCE = 2e-4;
/** How much chunks of different lengths may differ from one chunk. */
export const CHUNK_TOLERANCE = 1e-4;
const CHUNKS = [1, 3, 7];
/** Slots for any case; some configs state a context that is shorter than their prompts. */
const cacheLength = 512;

export const familyCase: CaseKind = {
  name: 'family',
  matches: (_, entries) =>
    ['config.json', 'model.safetensors', 'expected.safetensors'].every((file) => entries?.includes(file)),
  async run(path, { cacheDir }): Promise<CaseResult> {
    await using model = await loadModel(path, { weights: 'f32', cacheDir });
    const golden = await readGolden(join(path, 'expected.safetensors'));
    const failures: string[] = [];
    const { error, note } = await compareLogits(model, golden, failures);
    const greedy = await compareGreedy(model, golden, failures);
    return { error, failures, note: `${note}, ${greedy}` };
  },
};

function rowsOf({ shape, data }: Golden): number[][] {
  const [rows, length] = shape.length === 1 ? [1, shape[0]] : shape;
  return Array.from({ length: rows }, (_, r) => Array.from(data.subarray(r * length, (r + 1) * length)));
}

/** What of a model a comparison runs. */
type Steps = Pick<LanguageModel, 'createCache' | 'step' | 'prefill'>;

/** All logits, in one chunk for the golden values, and in shorter ones for each other. What differs is added to `failures`. */
export async function compareLogits(model: Steps, golden: ReadonlyMap<string, Golden>, failures: string[]) {
  const ids = golden.get('input_ids');
  const logits = golden.get('logits');
  if (!ids || !logits) throw new Error('expected.safetensors holds no input_ids and logits');
  const prompts = rowsOf(ids);
  const cache = model.createCache({ batch: prompts.length, cacheLength });
  const whole = (await model.step(cache, prompts, { logits: 'all' })).logits;
  const error = largestError(whole, logits.data);
  if (!(error <= LOGIT_TOLERANCE)) failures.push(`logits differ by ${error.toExponential(2)}`);
  for (const chunkLength of CHUNKS) {
    const pieces: number[] = [];
    for (const prompt of prompts) {
      const row = await model.prefill(model.createCache({ cacheLength }), prompt, { chunkLength, logits: 'all' });
      for (const value of row) pieces.push(value);
    }
    const apart = largestError(pieces, whole);
    if (!(apart <= CHUNK_TOLERANCE)) failures.push(`chunks of ${chunkLength} differ by ${apart.toExponential(2)}`);
  }
  return { error, note: `${prompts.length}x${prompts[0].length} tokens, chunks of ${CHUNKS.join(', ')}` };
}

/** The greedy tokens, one after the other out of the cache. */
export async function compareGreedy(
  model: Steps,
  golden: ReadonlyMap<string, Golden>,
  failures: string[],
): Promise<string> {
  const prompt = golden.get('greedy_prompt');
  const tokens = golden.get('greedy_tokens');
  if (!prompt || !tokens) return 'nothing greedy';
  const cache = model.createCache({ cacheLength });
  let logits = await model.prefill(cache, prompt.data);
  for (const [i, expected] of tokens.data.entries()) {
    const token = argmax(logits);
    if (token !== expected) {
      failures.push(`greedy token ${i} is ${token} instead of ${expected}`);
      break;
    }
    logits = await model.prefill(cache, [token]);
  }
  return `${tokens.data.length} greedy tokens`;
}
