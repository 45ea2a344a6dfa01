/**
 * Models that are not attention in every layer, under each policy: layers with slots keep their budget, and states are
 * those of the dense run as far as nothing that was evicted enters them. All of them on one engine (ggml, or
 * KEYHOLD_ENGINE), and one model of each kind on the other.
 */
import { readdirSync } from 'node:fs';
import { afterAll, describe, expect, it } from 'vitest';
import { budgetOf, EVERY, optionsFor, type TestPolicy } from '../../test/support/cache-runs.ts';
import { CASES, caseFolder, configJson, MORE_CASES } from '../../test/support/family-cases.ts';
import { furthest } from '../../test/support/furthest.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { slotLayers } from '../config/config.ts';
import { slotSpec } from '../config/layer-spec.ts';
import type { LanguageModel } from '../engine/language-model.ts';
import { readConfig } from '../families/read-config.ts';
import type { KVCache } from '../kvcache/kv-cache.ts';
import { POLICIES } from '../kvcache/policies.ts';
import type { EngineName } from '../load/engines-node.ts';
import { loadModel } from '../node.ts';
import { range } from '../util/numbers.ts';

const cacheDir = await tempFolder('hybrid-eviction');
const models: LanguageModel[] = [];
afterAll(async () => {
  for (const model of models) await model.dispose();
});

/** Every policy of the table, and the combinations of policies that all tests use. */
const named = new Set(EVERY.map(({ name }) => name));
const POLICIES_HERE: readonly TestPolicy[] = [
  ...EVERY,
  ...Object.keys(POLICIES)
    .filter((name) => !named.has(name))
    .map((policy) => ({ name: policy, options: { policy } })),
];

/** Models whose layers differ in what they keep, or keep something else than the keys and values of every head. */
const HYBRIDS = [...CASES, ...readdirSync(MORE_CASES)].filter((name) => {
  const { config } = readConfig(configJson(name));
  const mixers = config.layers.flatMap(({ mixer }) => mixer ?? []);
  const sizes = mixers.map((mixer) => {
    const { groups, keySize, valueSize } = slotSpec(mixer) ?? {};
    return [groups, keySize, valueSize].join();
  });
  const plain = ['self-attention', 'head-experts', 'cross-attention'];
  return config.causal && (mixers.some(({ kind }) => !plain.includes(kind)) || new Set(sizes).size > 1);
});

/** The first model of each set of mixers. */
const ONE_OF_EACH = HYBRIDS.filter((name, i) => HYBRIDS.findIndex((other) => kindsOf(other) === kindsOf(name)) === i);

function kindsOf(name: string): string {
  const { layers } = readConfig(configJson(name)).config;
  return [...new Set(layers.map(({ mixer }) => mixer?.kind ?? 'none'))].sort().join();
}

const ENGINE = (process.env['KEYHOLD_ENGINE'] ?? 'ggml') as EngineName;
const OTHER: EngineName = ENGINE === 'ggml' ? 'onnx' : 'ggml';
const RUNS = [...HYBRIDS.map((name) => [name, ENGINE] as const), ...ONE_OF_EACH.map((name) => [name, OTHER] as const)];

/**
 * How far two runs that evict nothing may differ. The random weights of `gemma3n` amplify rounding: where the outputs
 * of attention change by 1e-7 of themselves, logits of the original implementation in float64 change by up to 1e-4, in
 * other models by 1e-5.
 */
const toleranceOf = (name: string): number => (name === 'gemma3n' ? 1e-3 : 1e-4);

const TOKENS = range(30).map((t) => (t * t * 7 + t * 13 + 29) % 89);
const CHUNKS = [11, 1, 1, 7, 10];

/** Logits of all tokens, in order. */
async function run(model: LanguageModel, cache: KVCache): Promise<number[]> {
  const all: number[] = [];
  let at = 0;
  for (const [i, length] of CHUNKS.entries()) {
    const phase = i === CHUNKS.length - 1 ? 'prompt-end' : 'prompt';
    const { logits } = await model.step(cache, [TOKENS.slice(at, at + length)], { logits: 'all', phase });
    for (const x of logits) all.push(x);
    at += length;
  }
  return all;
}

describe.each(RUNS)('%s by %s', (name, engine) => {
  it('keeps its budget and its states under each policy', async () => {
    const model = await loadModel(caseFolder(name), { weights: 'float32', engine, cacheDir, threads: 1 });
    models.push(model);
    const { layers } = model.config;
    const withSlots = slotLayers(model.config);
    const full = model.createCache({ policy: 'dense', cacheLength: 30 });
    const dense = await run(model, full);
    // What layers in front of the first one with slots keep: no attention enters there.
    const exact = (cache: KVCache) =>
      cache.store.states
        .inputs()
        .filter(({ name: state }) => Number(state.split('.')[1]) < (withSlots[0]?.layer ?? layers.length));
    const all = (cache: KVCache) => cache.store.states.inputs();
    const wanted = new Map(all(full).map((state) => [state.name, state.data]));
    const windows = withSlots.map(({ slots }) => slots.window);
    for (const each of POLICIES_HERE) {
      const { name: policy, lossy } = each;
      const same = (states: ReturnType<typeof all>) => {
        for (const { name: state, data } of states)
          expect(furthest(data, wanted.get(state)!), `${policy} ${state}`).toBeLessThan(1e-4);
      };
      if (!lossy) {
        const roomy = model.createCache({ cacheLength: 30, ...optionsFor(each, full.shape, 30) });
        expect(furthest(await run(model, roomy), dense), policy).toBeLessThan(toleranceOf(name));
        if (roomy.stats().evicted[0] === 0) same(all(roomy));
      }
      if (policy === 'dense') continue;
      const small = model.createCache({
        cacheLength: 8,
        buffer: lossy ? 'int8' : 'float32',
        ...optionsFor(each, full.shape),
      });
      const logits = await run(model, small);
      expect(logits.every(Number.isFinite), policy).toBe(true);
      same(exact(small));
      if (windows.includes(null)) expect(small.stats().evicted[0], policy).toBeGreaterThan(0);
      const groups = withSlots.flatMap(({ layer, slots }) =>
        range(slots.groups).map((group) => ({
          held: small.tokenPositions(layer, 0, group).length,
          budget: budgetOf(small, layer, 0, group),
        })),
      );
      // Groups of a layer share its budget.
      const shared = /^ada|shared/.test(policy);
      if (!shared) for (const { held, budget } of groups) expect(held, policy).toBeLessThanOrEqual(budget);
      // Groups that have budgets of their own need not add up to the same here.
      if (policy.includes('own budgets')) continue;
      const sum = groups.reduce((total, { held }) => total + held, 0);
      expect(sum, policy).toBeLessThanOrEqual(8 * groups.length);
    }
  });
});
