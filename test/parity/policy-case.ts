/**
 * @file A cache policy's case: a JSON file with tokens, the chunks in which they came, and what an independent
 * reference made of them: the loss of each token, the positions held at the end, and their scores.
 */
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import * as v from 'valibot';
import { logSoftmaxAt } from '../../src/engine/sampling/sampler.ts';
import { type AnyCacheOptions, findPolicy } from '../../src/kvcache/policies.ts';
import type { PolicyEntry } from '../../src/kvcache/policy/policy.ts';
import { type KVCache, type LanguageModel, loadModel } from '../../src/node.ts';
import { range } from '../../src/util/numbers.ts';
import type { CaseContext, CaseKind, CaseResult } from './case.ts';
import { resolutions, type Tie, type TieBreaker, tieAware, youngest } from './ties.ts';

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
      weights: 'float32',
      cacheDir: context.cacheDir,
    });
    const note = `${golden.tokens.length} tokens in ${golden.chunks.length} chunks`;
    const cache = model.createCache(cacheOptions(golden));
    const plain = await runAll(model, cache, golden);
    const differences = [...checkLoss(plain), ...compareHeld(cache, golden)];
    const breaker: TieBreaker = { choose: youngest, ties: [] };
    const policy = tieAware(golden.policy, breaker);
    if (differences.length === 0 || !policy) return { error: plain, failures: differences, note };
    const { error, failures, ties } = await runChoosing(model, golden, policy, breaker);
    return { error, failures, note: `${note}, ${ties} ties resolved` };
  },
};

const checkLoss = (error: number): string[] =>
  error <= NLL_TOLERANCE ? [] : [`a token's loss differs by ${error.toExponential(2)}`];

/** Runs all chunks; the largest error of a loss. */
async function runAll(model: LanguageModel, cache: KVCache, golden: PolicyCase): Promise<number> {
  let error = 0;
  let at = 0;
  for (const length of golden.chunks) {
    error = Math.max(error, await runChunk(model, cache, golden, at, length));
    at += length;
  }
  return error;
}

/** Runs the chunk that begins at a token; the largest error of a loss that follows from it. */
async function runChunk(model: LanguageModel, cache: KVCache, golden: PolicyCase, at: number, length: number) {
  const chunk = golden.tokens.slice(at, at + length);
  const { logits } = await model.step(cache, [chunk], { logits: 'all', phase: 'prompt' });
  let error = 0;
  for (let i = 0; i < length && at + i + 1 < golden.tokens.length; i++) {
    const row = logits.subarray(i * model.config.vocabSize, (i + 1) * model.config.vocabSize);
    const nll = -logSoftmaxAt(row, golden.tokens[at + i + 1]);
    error = Math.max(error, Math.abs(nll - golden.nll[at + i]));
  }
  return error;
}

/** A way through the ties so far. */
interface Path {
  readonly cache: KVCache;
  readonly error: number;
  /** How far all losses are off, squared. */
  readonly off: number;
  readonly ties: number;
}

interface Judged {
  readonly before: Path;
  readonly after: Path;
  /** The ties of the chunk. */
  readonly met: readonly Tie[];
}

/**
 * Paths that go on after each chunk: those whose losses are nearest. A wrong choice shows in the next losses or never.
 */
const WIDTH = 8;
/** Ways to resolve the ties of one chunk. */
const WAYS = 64;

/**
 * Searches for choices among equal values that give the reference's losses, positions and scores. Each chunk's losses
 * judge the choices before it; what the reference holds at its end says which choices to try first.
 */
async function runChoosing(model: LanguageModel, golden: PolicyCase, policy: PolicyEntry, breaker: TieBreaker) {
  const empty = model.createCache({ ...cacheOptions(golden), policy });
  let paths: Path[] = [{ cache: empty, error: 0, off: 0, ties: 0 }];
  let at = 0;
  for (const length of golden.chunks) {
    const judged: Judged[] = [];
    for (const before of paths) {
      const cache = before.cache.fork();
      breaker.ties = [];
      breaker.choose = (tie) => youngest(tie, new Set(golden.kept[tie.layer][tie.group]));
      const worst = await runChunk(model, cache, golden, at, length);
      const after = {
        cache,
        error: Math.max(before.error, worst),
        off: before.off + worst ** 2,
        ties: before.ties + breaker.ties.length,
      };
      judged.push({ before, after, met: breaker.ties });
    }
    judged.sort((a, b) => a.after.off - b.after.off);
    const [best] = judged;
    const going = judged.filter(({ after }) => after.error <= NLL_TOLERANCE).slice(0, WIDTH);
    if (going.length === 0) return { ...best.after, failures: checkLoss(best.after.error) };
    const chunk = golden.tokens.slice(at, at + length);
    const next = new Map<string, Path>();
    for (const { before, after, met } of going) {
      addPath(next, after);
      for (const chosen of resolutions(met, WAYS)) {
        const cache = before.cache.fork();
        let nth = 0;
        breaker.choose = () => chosen[nth++];
        if (met.length > 0) await model.step(cache, [chunk], { logits: 'none', phase: 'prompt' });
        else break;
        addPath(next, { ...after, cache });
      }
    }
    paths = [...next.values()];
    at += length;
  }
  const ends = paths.map((path) => ({ ...path, failures: compareHeld(path.cache, golden) }));
  return ends.find(({ failures }) => failures.length === 0) ?? ends[0];
}

/** Paths that hold the same are one. */
function addPath(paths: Map<string, Path>, path: Path): void {
  const { layers } = path.cache.shape;
  const held = layers.map(({ groups }, l) => range(groups).map((g) => path.cache.tokenPositions(l, 0, g).join()));
  const name = JSON.stringify(held);
  if (!paths.has(name)) paths.set(name, path);
}

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
  const scored = 'normalize' in findPolicy(policy).options ? { normalize: normalize === 1 } : {};
  return { policy, cacheLength: length, ...(policy === 'dense' ? {} : { sinks }), ...rest, ...scored };
}

/** What differs of the positions held and their scores, the first of it. */
function compareHeld(cache: KVCache, { kept, score }: PolicyCase): string[] {
  for (const [layer, groups] of kept.entries())
    for (const [group, positions] of groups.entries()) {
      const held = cache.tokenPositions(layer, 0, group);
      if (held.join() !== positions.join())
        return [`layer ${layer}, group ${group} holds [${held}] instead of [${positions}]`];
      const expected = score[layer][group];
      const scores = cache.scores(layer, 0, group);
      if (!expected || !scores) continue;
      const scale = Math.max(...expected.map(Math.abs));
      const worst = Math.max(
        ...expected.map((value, j) => Math.abs(value - scores[j]) / Math.max(Math.abs(value), scale * 1e-3)),
      );
      if (!(worst <= SCORE_TOLERANCE))
        return [`layer ${layer}, group ${group}: a score differs by ${worst.toExponential(2)} of its size`];
    }
  return [];
}
