/**
 * One model of each kind of layers, and everything that works on caches, weights and steps: ragged batches, forks,
 * snapshots, speculation, adapters that are merged or live, quantized weights.
 */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadModel } from '../src/node.ts';
import { largestError } from './parity/case.ts';
import { loraOnAll, writeTestAdapter } from './support/adapters.ts';
import { caseFolder } from './support/family-cases.ts';
import { tempFolder } from './support/temp-folder.ts';

const folder = await tempFolder('kinds');
const cacheDir = join(folder, 'cache');

/** What is new in each, besides the layers that all have. */
const KINDS = {
  qwen3_5: 'gated delta nets, and a gate behind attention',
  lfm2: 'short convolutions',
  mamba: 'Mamba-1 alone',
  jamba: 'Mamba-1 between attention, experts on some layers',
  'mamba2-groups': 'Mamba-2 alone, in groups',
  nemotron_h: 'layers of one branch: Mamba-2, attention, experts',
  falcon_h1: 'attention beside Mamba-2',
  deepseek_v3: 'compressed keys, experts in groups',
  gemma3n: 'four streams, keys of earlier layers, vectors of layers',
  'gemma4-e2b': 'heads of several sizes, vectors of layers',
  'gemma4-26b': 'experts beside the MLP, values that are keys',
  gpt_oss: 'sinks, experts with biases',
  llama4_text: 'attention in chunks, a temperature, scaled inputs of experts',
  afmoe: 'sliding layers that rotate, a gate, sigmoid routers',
} as const;

/** Rows of different lengths, with repetitions for the drafter. */
const ROWS = [
  [5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6],
  [10, 11, 12],
  [20, 21, 22, 20, 21, 22, 20],
];
const GREEDY = { temperature: 0, maxNewTokens: 10, eosTokenIds: [] } as const;
/** gemma3n's random weights amplify rounding: see step/hybrid-eviction.test.ts. */
const toleranceOf = (name: string): number => (name === 'gemma3n' ? 1e-3 : 1e-4);

describe.each(Object.keys(KINDS))('%s', (name) => {
  const model = caseFolder(name);
  const tolerance = toleranceOf(name);
  const load = (options: Parameters<typeof loadModel>[1] = {}) =>
    loadModel(model, { weights: 'float32', cacheDir, ...options });

  it('computes rows of different lengths as each alone, in forks and snapshots, too', async () => {
    await using one = await load();
    const V = one.config.vocabSize;
    const batch = one.createCache({ policy: 'dense', batch: ROWS.length, cacheLength: 32 });
    const first = (await one.step(batch, ROWS, { logits: 'all' })).logits.slice();
    const saved = await one.restore(await one.snapshot(batch));
    const next = [[40, 41], [42], [43, 44, 45]];
    const caches = [batch.fork(), saved, batch];
    const after: Float32Array[] = [];
    for (const cache of caches) after.push((await one.step(cache, next, { logits: 'all' })).logits.slice());
    let [from, then] = [0, 0];
    for (const [row, tokens] of ROWS.entries()) {
      const alone = one.createCache({ policy: 'dense', cacheLength: 32 });
      const own = (await one.step(alone, [tokens], { logits: 'all' })).logits.slice();
      expect(largestError(first.subarray(from, from + tokens.length * V), own), `row ${row}`).toBeLessThan(tolerance);
      const later = (await one.step(alone, [next[row]], { logits: 'all' })).logits;
      for (const logits of after)
        expect(largestError(logits.subarray(then, then + next[row].length * V), later)).toBeLessThan(tolerance);
      from += tokens.length * V;
      then += next[row].length * V;
    }
  });

  it.each(['ggml', 'onnx'] as const)(
    'keeps its states apart in forks that are all written, and as they were in a step that is aborted, on %s',
    async (engine) => {
      await using one = await load({ engine });
      const [prompt] = ROWS;
      const paths = [[40], [41, 42, 43], [44, 45]];
      const first = one.createCache({ policy: 'dense', cacheLength: 32 });
      await one.prefill(first, prompt);
      // The last is a fork of a fork, and all of them are written in turns.
      const second = first.fork();
      const caches = [first, second, second.fork()];
      for (const [i, cache] of caches.entries()) await one.step(cache, [paths[i]], {});
      for (const [i, cache] of caches.entries()) {
        const aborted = AbortSignal.abort(new Error('enough'));
        await expect(one.step(cache, [[70 + i, 71, 72]], { signal: aborted })).rejects.toThrow('enough');
        const { logits } = await one.step(cache, [[50, 51 + i]], { logits: 'all' });
        const alone = one.createCache({ policy: 'dense', cacheLength: 32 });
        await one.prefill(alone, [...prompt, ...paths[i]]);
        const wanted = await one.prefill(alone, [50, 51 + i], { logits: 'all' });
        expect(largestError(logits, wanted), `path ${i}`).toBeLessThan(tolerance);
      }
    },
  );

  it('takes a step back that is aborted while it runs', async () => {
    await using one = await load();
    const [prompt] = ROWS;
    const long = Array.from({ length: 40 }, (_, i) => 5 + ((7 * i) % 80));
    for (const wait of [0, 1, 3]) {
      const cache = one.createCache({ policy: 'dense', cacheLength: 64 });
      await one.prefill(cache, prompt);
      const controller = new AbortController();
      const running = one.step(cache, [long], { signal: controller.signal });
      setTimeout(() => controller.abort(), wait);
      const done = await running.then(
        () => true,
        () => false,
      );
      const { logits } = await one.step(cache, [[50, 51]], { logits: 'all' });
      const alone = one.createCache({ policy: 'dense', cacheLength: 64 });
      await one.prefill(alone, done ? [...prompt, ...long] : prompt);
      const wanted = await one.prefill(alone, [50, 51], { logits: 'all' });
      expect(largestError(logits, wanted), `after ${wait} ms, ${done ? 'done' : 'aborted'}`).toBeLessThan(tolerance);
    }
  });

  it('writes with speculation what it writes without', async () => {
    await using one = await load();
    for (const prompt of ROWS) {
      const plain = await one.generate(prompt, GREEDY).result();
      // A drafter that is right at first and wrong then: states are taken back.
      const right = plain.tokens.map(({ token }) => token);
      const drafter = () => ({
        propose: async (context: readonly number[], most: number) => {
          const at = context.length - prompt.length;
          const tokens = [...right.slice(at, at + 2), 1, 2].slice(0, most);
          return tokens.map((token) => ({ token, probabilities: null }));
        },
      });
      const fast = await one.generate(prompt, { ...GREEDY, speculate: { drafter } }).result();
      expect(fast.tokens.map(({ token }) => token)).toEqual(right);
      expect(fast.speculation!.accepted).toBeGreaterThan(0);
      expect(fast.speculation!.accepted).toBeLessThan(fast.speculation!.proposed);
    }
  });

  it('takes a LoRA of all modules merged, live, and live on some rows of a batch', async () => {
    const path = await writeTestAdapter(join(folder, name), await loraOnAll(name));
    await using plain = await load();
    await using merged = await load({ adapters: [{ path }] });
    await using live = await load({ adapters: [{ path, name: 'lora', live: true }] });
    const V = live.config.vocabSize;
    const batch = live.createCache({ policy: 'dense', batch: ROWS.length, cacheLength: 32 });
    const rowAdapters = ['lora', [], 'lora'];
    const { logits } = await live.step(batch, ROWS, { logits: 'all', rowAdapters });
    let at = 0;
    for (const [row, tokens] of ROWS.entries()) {
      const alone = async (model: typeof plain) =>
        model.prefill(model.createCache({ policy: 'dense', cacheLength: 32 }), tokens, { logits: 'all' });
      const [wanted, other] =
        row === 1 ? [await alone(plain), await alone(merged)] : [await alone(merged), await alone(plain)];
      const own = logits.subarray(at, at + tokens.length * V);
      const size = wanted.reduce((most, x) => (x > -1e20 ? Math.max(most, Math.abs(x)) : most), 1);
      expect(largestError(own, wanted), `row ${row}`).toBeLessThan(tolerance * size);
      expect(largestError(own, other), `row ${row} of another`).toBeGreaterThan(10 * tolerance * size);
      at += tokens.length * V;
    }
  });

  it.each(['q8_0', 'int8', 'int4'] as const)(
    'computes with weights of %s, also rows of different lengths',
    async (weights) => {
      await using exact = await load();
      await using one = await load({ weights });
      const V = one.config.vocabSize;
      const batch = one.createCache({ policy: 'dense', batch: ROWS.length, cacheLength: 32 });
      const { logits } = await one.step(batch, ROWS, { logits: 'all' });
      const wanted = (
        await exact.step(exact.createCache({ policy: 'dense', batch: ROWS.length, cacheLength: 32 }), ROWS, {
          logits: 'all',
        })
      ).logits;
      expect(correlation(logits, wanted)).toBeGreaterThan(weights === 'int4' ? 0.5 : 0.98);
      let at = 0;
      for (const tokens of ROWS) {
        const alone = await one.prefill(one.createCache({ policy: 'dense', cacheLength: 32 }), tokens, {
          logits: 'all',
        });
        expect(correlation(logits.subarray(at, at + tokens.length * V), alone)).toBeGreaterThan(0.98);
        at += tokens.length * V;
      }
    },
  );
});

/** Of numbers that are computed: logits of tokens that are never written are left out. */
function correlation(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    if (a[i] < -1e20 || b[i] < -1e20) continue;
    ab += a[i] * b[i];
    aa += a[i] ** 2;
    bb += b[i] ** 2;
  }
  return ab / Math.sqrt(aa * bb);
}
