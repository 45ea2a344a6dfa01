import { afterAll, describe, expect, it } from 'vitest';
import { anyTable } from '../../test/support/calibration.ts';
import { caseFolder, configJson } from '../../test/support/family-cases.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { readConfig } from '../families/read-config.ts';
import { definePolicy } from '../kvcache/policy/define-policy.ts';
import type { Need } from '../kvcache/policy/needs.ts';
import { planMemory } from '../load/memory/memory-plan.ts';
import { type LanguageModel, loadModel } from '../node.ts';
import { InputError } from '../util/errors.ts';

const cacheDir = await tempFolder('replay');

/** What groups are shown for their last need, by layer, row, group and position, of the last chunk. */
type Shown = Map<string, number>;

const watching = (needs: readonly Need[], shown: Shown) =>
  definePolicy({
    name: `watching ${needs.join(' and ')}`,
    needs,
    score: ({ weights, positions, length, index }, { layer, row }) => {
      const seen = weights[needs.length - 1];
      for (let j = 0; j < length; j++) shown.set(`${layer} ${row} ${index} ${positions[j]}`, seen[j]);
      return undefined;
    },
  });

const tokens = (count: number, from: number) => Array.from({ length: count }, (_, t) => (7 * (t + from) + 1) % 50);
const [START, CHUNK, OTHER, ONE] = [tokens(5, 0), tokens(6, 5), tokens(3, 20), tokens(1, 9)];

/** What the policy sees of the last chunk, and the logits of its last tokens. */
async function watch(
  model: LanguageModel,
  needs: readonly Need[],
  steps: readonly (readonly number[])[][],
  options: { readonly replay?: boolean } = {},
) {
  const shown: Shown = new Map();
  const cache = model.createCache({
    policy: watching(needs, shown),
    cacheLength: 64,
    batch: steps[0].length,
    ...options,
  });
  // Where the rotation depends on the length, it is the same in all steps.
  const lengths = steps[0].map(() => 30);
  let logits = new Float32Array(0);
  for (const chunk of steps) {
    shown.clear();
    logits = Float32Array.from((await model.step(cache, chunk, { lengths })).logits);
  }
  return { shown, logits };
}

function close(a: ArrayLike<number>, b: ArrayLike<number>, most = 2e-5): void {
  expect(a.length).toBe(b.length);
  for (let i = 0; i < a.length; i++) expect(Math.abs(a[i] - b[i])).toBeLessThan(most);
}

/** Those of one row, as if it were the first. */
const ofRow = (shown: Shown, row: number): Shown =>
  new Map(
    [...shown].flatMap(([key, weight]) => {
      const [layer, at, ...rest] = key.split(' ');
      return Number(at) === row ? [[[layer, 0, ...rest].join(' '), weight] as const] : [];
    }),
  );

function sameWeights(a: Shown, b: Shown): void {
  expect(a.size).toBeGreaterThan(0);
  expect([...a.keys()]).toEqual([...b.keys()]);
  close([...a.values()], [...b.values()]);
}

// Windows, sinks, slopes by head, latent heads, recurrent layers beside attention, a rotation by the length.
const MODELS = ['llama', 'gemma2', 'gpt_oss', 'bloom', 'deepseek_v3', 'jamba', 'falcon_h1', 'gpt2'] as const;

describe.each(MODELS.flatMap((name) => (['ggml', 'onnx'] as const).map((engine) => [name, engine] as const)))(
  'a chunk of %s that is read once more, by %s',
  (name, engine) => {
    let loaded: LanguageModel | undefined;
    const model = async () =>
      (loaded ??= await loadModel(caseFolder(name), { weights: 'float32', engine, cacheDir, threads: 1 }));
    afterAll(() => loaded?.dispose());

    it('pays what it would pay in a step of its own, and leaves no trace', async () => {
      const m = await model();
      const replayed = await watch(m, ['echo'], [[START], [CHUNK]], { replay: true });
      // The tokens before the chunk are read once more in front of it.
      const again = await watch(m, ['max'], [[START], [CHUNK], [START], [CHUNK]]);
      const seen = new Map([...again.shown].filter(([key]) => replayed.shown.has(key)));
      const hidden = [...replayed.shown].filter(([key]) => !seen.has(key));
      sameWeights(seen, new Map([...replayed.shown].filter(([key]) => seen.has(key))));
      for (const [, weight] of hidden) expect(weight).toBe(0); // a window lies between
      const once = await watch(m, ['echo'], [[START], [CHUNK], [OTHER]]);
      close((await watch(m, ['echo'], [[START], [CHUNK], [OTHER]], { replay: true })).logits, once.logits, 1e-4);
    });

    it('is the same in a batch, beside other weights, and nothing for single tokens', async () => {
      const m = await model();
      const alone = await watch(m, ['echo'], [[START], [CHUNK]], { replay: true });
      const other = await watch(m, ['echo'], [[START], [OTHER]], { replay: true });
      const steps = [
        [START, START, START],
        [CHUNK, ONE, OTHER],
      ];
      const { shown } = await watch(m, ['echo'], steps, { replay: true });
      sameWeights(ofRow(shown, 0), alone.shown);
      sameWeights(ofRow(shown, 2), other.shown);
      for (const weight of ofRow(shown, 1).values()) expect(weight).toBe(0);
      sameWeights((await watch(m, ['max', 'sums', 'echo'], steps, { replay: true })).shown, shown);
      for (const need of ['max', 'sums'] as const)
        sameWeights(
          (await watch(m, ['echo', need], steps, { replay: true })).shown,
          (await watch(m, [need], steps)).shown,
        );
    });
  },
);

describe('the option replay', () => {
  it('changes what routed keeps, under the same budgets, and is refused where nothing goes by an echo', async () => {
    await using model = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir, threads: 1 });
    const table = anyTable(model.createCache({ cacheLength: 8 }).shape, 3);
    const positions = async (replay: boolean) => {
      const cache = model.createCache({ policy: 'routed', table, cacheLength: 14, replay });
      await model.prefill(cache, tokens(60, 0), { chunkLength: 8 });
      const slots = cache.shape.layers.flatMap(({ groups }, layer) =>
        Array.from({ length: groups }, (_, group) => [...cache.tokenPositions(layer, 0, group)]),
      );
      expect(slots.flat().length).toBeLessThanOrEqual(14 * slots.length);
      return JSON.stringify(slots);
    };
    expect(await positions(true)).not.toBe(await positions(false));
    expect(await positions(true)).toBe(await positions(true));
    for (const policy of ['h2o', 'dense', 'lastrec'])
      expect(() => model.createCache({ policy, cacheLength: 8, replay: true })).toThrow(
        new RegExp(`replay is for policies that go by the echo.*and ${policy} does not`),
      );
    const wrong = { policy: 'echo', cacheLength: 8, replay: 2 as unknown as boolean };
    expect(() => model.createCache(wrong)).toThrow(InputError);
  });

  it('needs memory for chunks of twice the length', () => {
    const { config } = readConfig(configJson('llama'));
    const plan = (replay: boolean) =>
      planMemory(config, { contextLength: 64, cache: { policy: 'echo', cacheLength: 16, replay } }).workspaceParts;
    expect(plan(true).chunk).toBeGreaterThan(plan(false).chunk);
    expect(plan(true).graph).toBeGreaterThan(plan(false).graph);
  });
});
