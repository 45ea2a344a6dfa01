/**
 * @file A cache policy's case: a JSON file with tokens, the chunks in which they came, and what an independent reference made of
 * them: the loss of each token, the positions held at the end, and their scores.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { logSoftmaxAt } from '../../src/generate/sampler.ts';
import { type AnyCacheOptions, type KVCache, loadModel } from '../../src/node.ts';
import type { CaseContext, CaseKind, CaseResult } from './case.ts';

/** Largest error of a token's loss, in nats. */
const NLL_TOLERANCE = 1e-3;
/** Largest error of a score, relative to its size. */
const SCORE_TOLERANCE = 1e-3;

const SMALL_MODEL = fileURLToPath(new URL('../../models/tiny', import.meta.url));

const PolicyCase = v.object({
  policy: v.string(),
  cacheLength: v.nullable(v.number()),
  options: v.record(v.string(), v.number()),
  tokens: v.array(v.number()),
  chunks: v.array(v.number()),
  nll: v.array(v.number()),
  kept: v.array(v.array(v.array(v.number()))),
  score: v.array(v.array(v.nullable(v.array(v.number())))),
  model: v.string(),
});
type PolicyCase = v.InferOutput<typeof PolicyCase>;

export const policyCase: CaseKind = {
  name: 'policy',
  async matches(path, entries) {
    return entries === null && path.endsWith('.json') && v.is(PolicyCase, await readJson(path));
  },
  async run(path, context): Promise<CaseResult> {
    const golden = v.parse(PolicyCase, await readJson(path));
    await using model = await loadModel(findModel(golden.model, path, context), {
      weights: 'f32',
      cacheDir: context.cacheDir,
    });
    const cache = model.createCache(cacheOptions(golden));
    const failures: string[] = [];
    let error = 0;
    let at = 0;
    for (const length of golden.chunks) {
      const chunk = golden.tokens.slice(at, at + length);
      const { logits } = await model.step(cache, [chunk], { logits: 'all', phase: 'prompt' });
      for (let i = 0; i < length && at + i + 1 < golden.tokens.length; i++) {
        const row = logits.subarray(i * model.config.vocabSize, (i + 1) * model.config.vocabSize);
        const nll = -logSoftmaxAt(row, golden.tokens[at + i + 1]);
        error = Math.max(error, Math.abs(nll - golden.nll[at + i]));
      }
      at += length;
    }
    if (!(error <= NLL_TOLERANCE)) failures.push(`a token's loss differs by ${error.toExponential(2)}`);
    compareHeld(cache, golden, failures);
    return { error, failures, note: `${golden.tokens.length} tokens in ${golden.chunks.length} chunks` };
  },
};

async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch {
    return undefined;
  }
}

/** A family's case beside this one, in a folder that was named, or the small model. */
export function findModel(name: string, path: string, { models }: CaseContext): string {
  const folders = [join(dirname(dirname(path)), 'families'), ...models];
  const found = folders.map((folder) => join(folder, name)).find((folder) => existsSync(join(folder, 'config.json')));
  if (found) return found;
  if (name === 'tiny') return SMALL_MODEL;
  throw new Error(`the model ${name} is in none of ${folders.join(', ')}; name its folder with --models`);
}

/** The reference's options: what it does not state is off there. */
function cacheOptions({ policy, cacheLength, options, tokens }: PolicyCase): Partial<AnyCacheOptions> {
  const length = cacheLength ?? tokens.length;
  const { sinks = 0, normalize = 0, ...rest } = options;
  const scored = policy.startsWith('h2o') ? { normalize: normalize === 1 } : {};
  return { policy, cacheLength: length, sinks, ...rest, ...scored };
}

function compareHeld(cache: KVCache, { kept, score }: PolicyCase, failures: string[]): void {
  for (const [layer, groups] of kept.entries())
    for (const [group, positions] of groups.entries()) {
      const held = cache.tokenPositions(layer, 0, group);
      if (held.join() !== positions.join()) {
        failures.push(`layer ${layer}, group ${group} holds [${held}] instead of [${positions}]`);
        return;
      }
      const expected = score[layer][group];
      const scores = cache.scores(layer, 0, group);
      if (!expected || !scores) continue;
      const scale = Math.max(...expected.map(Math.abs));
      const worst = Math.max(
        ...expected.map((value, j) => Math.abs(value - scores[j]) / Math.max(Math.abs(value), scale * 1e-3)),
      );
      if (!(worst <= SCORE_TOLERANCE)) {
        failures.push(`layer ${layer}, group ${group}: a score differs by ${worst.toExponential(2)} of its size`);
        return;
      }
    }
}
