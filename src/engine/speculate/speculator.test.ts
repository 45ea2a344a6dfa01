import { readFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caseFolder } from '../../../test/support/family-cases.ts';
import { EVICTING_POLICIES, PLAIN_POLICIES } from '../../../test/support/policy-names.ts';
import { seeded } from '../../../test/support/seeded.ts';
import { ids } from '../../../test/support/small-model.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { AnyCacheOptions } from '../../kvcache/policies.ts';
import { definePolicy, type KVCache, loadModel } from '../../node.ts';
import { InputError } from '../../util/errors.ts';
import type { LanguageModel } from '../language-model.ts';
import type { GenerateOptions } from '../options.ts';
import type { LogitsProcessor } from '../sampling/logits.ts';
import { Sampler } from '../sampling/sampler.ts';

const cacheDir = await tempFolder('lookahead');
/**
 * ONNX Runtime computes a row alone as it does among others; ggml has other kernels for it, and near ties may be
 * decided otherwise.
 */
const engine = 'onnx';
const load = (path: string) => loadModel(path, { weights: 'float32', cacheDir, engine, generationConfig: false });
let tiny: LanguageModel;
/** 97 tokens each, and weights of their own. */
let small: LanguageModel;
let other: LanguageModel;
/** Text, once and a beginning of it once more. */
let repeated: string;

beforeAll(async () => {
  tiny = await load('models/tiny');
  small = await load(caseFolder('llama'));
  other = await load(caseFolder('qwen2'));
  const text = await readFile('models/tiny/validation.txt', 'utf8');
  repeated = text.slice(0, 700) + text.slice(0, 250);
});
afterAll(async () => {
  for (const model of [tiny, small, other]) await model.dispose();
});

/** A sequence that repeats itself. */
const circle = (length: number, period: number): number[] => Array.from({ length }, (_, i) => ids(period)[i % period]);
const tokensOf = ({ tokens }: { tokens: readonly { token: number }[] }): number[] => tokens.map(({ token }) => token);

/** Writes these tokens, whatever the model says. */
function dictate(script: readonly number[]): LogitsProcessor {
  return (logits, { tokens, promptLength }) => {
    const next = script[tokens.length - promptLength];
    if (next !== undefined) logits.fill(-Infinity).fill(0, next, next + 1);
  };
}

/** With and without speculation: the same text and the same cache afterwards. */
async function compare(
  model: LanguageModel,
  prompt: string | readonly number[],
  options: GenerateOptions,
  speculate: GenerateOptions['speculate'] = true,
) {
  const plain = model.generate(prompt, options);
  const ahead = model.generate(prompt, { ...options, speculate });
  const [a, b] = [await plain.result(), await ahead.result()];
  expect(tokensOf(b)).toEqual(tokensOf(a));
  expect({ ...b, cache: null, speculation: null, timings: null, tokens: 0 }).toEqual({
    ...a,
    cache: null,
    speculation: null,
    timings: null,
    tokens: 0,
  });
  b.tokens.forEach(({ logprob }, i) => {
    expect(logprob).toBeCloseTo(a.tokens[i].logprob, 3);
  });
  expectSame(ahead.cache, plain.cache);
  expect(a.speculation).toBeUndefined();
  return b.speculation!;
}

function expectSame(a: KVCache, b: KVCache): void {
  expect(a.tokens()).toEqual(b.tokens());
  expect(a.stats().evicted).toEqual(b.stats().evicted);
  for (let layer = 0; layer < a.shape.layers.length; layer++)
    for (let group = 0; group < a.shape.layers[layer].groups; group++)
      expect(a.tokenPositions(layer, 0, group)).toEqual(b.tokenPositions(layer, 0, group));
}

describe('prompt lookup', () => {
  it('writes the same, in fewer steps', async () => {
    const speculation = await compare(tiny, repeated, { maxNewTokens: 100, eosTokenIds: [] });
    expect(speculation.steps).toBeLessThan(85);
    expect(speculation.accepted).toBeGreaterThan(15);
    expect(speculation.steps + speculation.accepted).toBeGreaterThanOrEqual(99);
    expect(speculation.proposed).toBeGreaterThanOrEqual(speculation.accepted);
  });

  it('writes the same for the same seed when tokens are drawn', async () => {
    for (const seed of [1, 2, 3]) {
      const options = { temperature: 0.8, topP: 0.9, repetitionPenalty: 1.05, seed, maxNewTokens: 40 };
      await compare(tiny, repeated, { ...options, topLogprobs: 2 });
    }
  });

  it('proposes as many as it is told, and nothing where nothing is repeated', async () => {
    const options = { maxNewTokens: 30, eosTokenIds: [], processors: [dictate(circle(60, 6).slice(24))] };
    const eight = await compare(small, circle(24, 6), options);
    const two = await compare(small, circle(24, 6), options, { tokens: 2 });
    expect(eight.steps).toBeLessThan(6);
    expect(two.steps).toBe(10);
    const odd = Array.from({ length: 10 }, (_, i) => 5 + 2 * i);
    const none = await compare(small, ids(30), { maxNewTokens: 10, processors: [dictate(odd)], eosTokenIds: [] });
    expect(none).toEqual({ steps: 9, proposed: 0, accepted: 0 });
  });

  it('ends in the middle of what was right', async () => {
    const script = circle(60, 6).slice(24);
    const processors = [dictate(script)];
    // After any number of tokens, of which more had been proposed.
    for (let maxNewTokens = 1; maxNewTokens <= 12; maxNewTokens++)
      await compare(small, circle(24, 6), { maxNewTokens, processors, eosTokenIds: [] });
    for (const at of [1, 4, 9]) {
      const ended = [...script.slice(0, at), 1, ...script.slice(at)];
      await compare(small, circle(24, 6), { maxNewTokens: 20, processors: [dictate(ended)], eosTokenIds: [1] });
      // The end itself was proposed.
      await compare(small, circle(24, 6), { maxNewTokens: 20, processors, eosTokenIds: [script[at]] });
    }
    const words = tiny.tokenizer.encode(' one two three four', { addSpecialTokens: false });
    const prompt = tiny.tokenizer.encode('one two three four one two three four');
    await compare(tiny, prompt, { processors: [dictate([...words, ...words])], stop: 'three', maxNewTokens: 20 });
  });

  it('leaves a cache that goes on', async () => {
    const cache = tiny.createCache();
    const first = await tiny.generate(repeated, { cache, maxNewTokens: 50, speculate: true }).result();
    const all = [...tiny.tokenizer.encode(repeated), ...tokensOf(first)];
    expect([...cache.tokens(), ...cache.pending()]).toEqual(all);
    const whole = await tiny.prefill(tiny.createCache(), [...all, 7]);
    const rest = await tiny.prefill(cache, [7]);
    whole.forEach((logit, i) => {
      expect(rest[i]).toBeCloseTo(logit, 2);
    });
  });

  it('leaves what was read where it is aborted, or its reader leaves', async () => {
    const script = circle(200, 6).slice(24);
    for (const stop of [1, 2, 3, 5, 8, 13]) {
      const cache = small.createCache();
      const aborter = new AbortController();
      let calls = 0;
      const aborting: LogitsProcessor = () => {
        if (++calls === stop) aborter.abort();
      };
      const run = small.generate(circle(24, 6), {
        cache,
        processors: [dictate(script), aborting],
        signal: aborter.signal,
        speculate: true,
        eosTokenIds: [],
        maxNewTokens: 90,
      });
      await expect(run.result()).rejects.toThrow();
      const { tokens, finishReason } = run.partial!;
      expect(finishReason).toBe('aborted');
      expect(cache.tokens()).toEqual([...circle(24, 6), ...tokensOf({ tokens })].slice(0, cache.length()));
      expect(cache.length()).toBeGreaterThanOrEqual(24 + tokens.length - 1);
    }
  });
});

describe('under a policy that evicts', () => {
  // Both refuse it.
  const others = ['expected', 'leverage'];
  const policies = [
    'ada(h2o)',
    'mix(echo, knorm)',
    ...EVICTING_POLICIES.filter((name) => PLAIN_POLICIES.includes(name)),
  ];

  it.each(policies.filter((name) => !others.includes(name)))(
    '%s: the text is the same, before and after the budget is used up',
    async (policy) => {
      const script = circle(90, 7).slice(28);
      for (const processors of [[dictate(script)], []])
        for (const cacheLength of [40, 64, 100]) {
          const cache: AnyCacheOptions = { policy, cacheLength, sinks: 2 };
          const speculation = await compare(small, circle(28, 7), {
            cache,
            processors,
            maxNewTokens: 60,
            eosTokenIds: [],
          });
          if (processors.length > 0) expect(speculation.accepted).toBeGreaterThan(0);
        }
    },
  );

  it('merge: the text is the same, with a draft that is right', async () => {
    const cache: AnyCacheOptions = { policy: 'merge', cacheLength: 40 };
    const options = { cache, maxNewTokens: 60, eosTokenIds: [] };
    const speculation = await compare(small, ids(28), options, { draft: small });
    expect(speculation.accepted).toBeGreaterThan(0);
  });

  it('waits as long as the budget is used up, unless it need not be exact', async () => {
    const options = {
      cache: { policy: 'h2o', cacheLength: 24 },
      processors: [dictate(circle(90, 7).slice(28))],
      maxNewTokens: 40,
      eosTokenIds: [],
    };
    const exact = await small.generate(circle(28, 7), { ...options, speculate: true }).result();
    expect(exact.speculation).toEqual({ steps: 39, proposed: 0, accepted: 0 });
    const loose = await small.generate(circle(28, 7), { ...options, speculate: { exact: false } }).result();
    expect(loose.speculation!.accepted).toBeGreaterThan(20);
    expect(tokensOf(loose)).toEqual(tokensOf(exact)); // they are dictated
    expect(loose.cache.held).toEqual([24]);
  });

  it('of one’s own that adds scores up is the same, too', async () => {
    const policy = definePolicy({
      name: 'mine',
      needs: ['sums'],
      score: ({ scores, weights: [sums], length }) => {
        for (let j = 0; j < length; j++) scores[j] += sums[j];
        return undefined;
      },
    });
    const speculation = await compare(small, circle(28, 7), {
      cache: { policy, cacheLength: 60 },
      processors: [dictate(circle(90, 7).slice(28))],
      maxNewTokens: 60,
      eosTokenIds: [],
    });
    expect(speculation.accepted).toBeGreaterThan(10);
  });

  it('is refused where the policy counts all queries', () => {
    const generate = () => small.generate(ids(5), { cache: { policy: 'expected', cacheLength: 32 }, speculate: true });
    expect(generate).toThrow(InputError);
    expect(generate).toThrow(/the policy expected can't: it counts all queries; leave speculate out/);
    for (const policy of ['leverage', 'mix(h2o, leverage)']) {
      const refreshing = () => small.generate(ids(5), { cache: { policy, cacheLength: 32 }, speculate: true });
      expect(refreshing).toThrow(/makes its scores anew after a number of tokens/);
    }
  });
});

describe('with rounded slots', () => {
  it('is refused, unless it need not be exact', async () => {
    for (const buffer of ['float16', 'int8', 'int4'] as const) {
      const generate = (exact?: boolean) =>
        small.generate(circle(24, 6), { cache: { policy: 'dense', buffer }, speculate: { exact }, maxNewTokens: 20 });
      expect(() => generate()).toThrow(/use a float32 cache, or allow it with speculate: \{ exact: false \}/);
      expect((await generate(false).result()).tokens.length).toBeGreaterThan(0);
    }
  });
});

describe('in models of other kinds', () => {
  it.each(['gemma2', 'mistral', 'gpt2', 'bloom', 'mixtral', 'falcon', 'llama-rope-dynamic', 'phi3-longrope'])(
    '%s: the text is the same',
    async (name) => {
      await using model = await load(caseFolder(name));
      const room = model.config.contextLength;
      const prompt = circle(Math.min(24, room - 4), 6).map((id) => id % model.config.vocabSize);
      const script = circle(200, 6)
        .slice(prompt.length)
        .map((id) => id % model.config.vocabSize);
      for (const policy of ['dense', 'h2o']) {
        const cache = { policy, cacheLength: policy === 'dense' ? 200 : 60 };
        const learned = model.config.position === 'learned';
        const maxNewTokens = learned ? room - prompt.length : 50;
        const options = { cache, maxNewTokens, eosTokenIds: [] };
        await compare(model, prompt, options);
        const speculation = await compare(model, prompt, { ...options, processors: [dictate(script)] });
        if (maxNewTokens > 20 && !name.includes('dynamic')) expect(speculation.accepted).toBeGreaterThan(5);
      }
    },
  );

  it('goes on where a sequence outgrows what the model was made for', async () => {
    await using model = await load(caseFolder('llama-rope-llama3'));
    const { contextLength } = model.config;
    const prompt = circle(contextLength - 6, 6);
    const script = circle(contextLength + 60, 6).slice(prompt.length);
    await compare(model, prompt, {
      cache: { policy: 'lastrec', cacheLength: 24 },
      maxNewTokens: 40,
      eosTokenIds: [],
      processors: [dictate(script)],
    });
  });
});

describe('a draft model', () => {
  it('writes the same as the larger one when nothing is drawn', async () => {
    const same = await compare(small, ids(12), { maxNewTokens: 50, eosTokenIds: [] }, { draft: small });
    // It guesses right, always.
    expect(same).toEqual({ steps: 10, proposed: 40, accepted: 40 });
    const differs = await compare(small, ids(12), { maxNewTokens: 50, eosTokenIds: [] }, { draft: other });
    expect(differs.accepted).toBeLessThan(20);
    for (const policy of ['lastrec', 'h2o', 'tova'])
      await compare(
        small,
        ids(12),
        { maxNewTokens: 50, eosTokenIds: [], cache: { policy, cacheLength: 40 } },
        { draft: other },
      );
  });

  it('may have layers with a window, and a context that ends', async () => {
    await using windowed = await load(caseFolder('gemma2'));
    const options = { maxNewTokens: 60, eosTokenIds: [] };
    const speculation = await compare(windowed, ids(30), options, { draft: windowed, tokens: 3 });
    expect(speculation.accepted).toBe(speculation.proposed);
    await compare(windowed, ids(30), options, { draft: small });
    await using short = await load(caseFolder('llama-rope-dynamic'));
    expect(short.config.contextLength).toBe(12);
    await compare(
      small,
      ids(5),
      { maxNewTokens: 30, eosTokenIds: [], cache: { policy: 'dense', cacheLength: 200 } },
      { draft: short },
    );
  });

  it('draws what the larger one alone would draw: two tokens, from four each', async () => {
    const prompt = ids(12);
    const options = { temperature: 1.5, topK: 4, maxNewTokens: 2, eosTokenIds: [] };
    const expected = await pairProbabilities(small, prompt, options.temperature, options.topK);
    const counts = new Map<string, number>();
    const RUNS = 800;
    const held = small.createCache();
    await small.prefill(held, prompt.slice(0, -1));
    let accepted = 0;
    for (let seed = 0; seed < RUNS; seed++) {
      // Two proposals for the second token, and one after it.
      const run = small.generate(prompt.slice(-1), {
        ...options,
        seed,
        cache: held.fork(),
        speculate: { draft: other, tokens: 2 },
      });
      const { tokens, speculation } = await run.result();
      accepted += speculation!.accepted;
      const key = tokensOf({ tokens }).join();
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    expect(accepted).toBeGreaterThan(20);
    expect(accepted).toBeLessThan(RUNS);
    expect([...counts.keys()].every((key) => expected.has(key))).toBe(true);
    expect(chiSquare(counts, expected, RUNS)).toBeLessThan(quantile(expected.size - 1));
  });

  it('is refused where its tokens mean something else', async () => {
    await using cohere = await load(caseFolder('cohere'));
    const generate = (draft: LanguageModel) => () => small.generate(ids(5), { speculate: { draft } });
    if (cohere.config.vocabSize === small.config.vocabSize) expect(generate(cohere)).not.toThrow();
    expect(generate(tiny)).toThrow(InputError);
    expect(generate(tiny)).toThrow(
      /can't draft for .*llama: it has 4096 tokens, not 97; both must have the same tokenizer/,
    );
  });
});

describe('judging a proposal', () => {
  it('gives the distribution of the one who judges, whoever proposes: 60 pairs of distributions over 8 tokens', () => {
    const random = seeded(5);
    const context = { tokens: [1, 2, 3], promptLength: 2 };
    const VOCABULARY = 8;
    const RUNS = 4000;
    let refused = 0;
    for (let pair = 0; pair < 60; pair++) {
      const logits = () => Float32Array.from({ length: VOCABULARY }, () => random(600) / 100 - 3);
      const [p, q] = [logits(), logits()];
      const narrow = [{}, { topK: 3 }, { topP: 0.7 }, { minP: 0.2 }, { repetitionPenalty: 1.7 }][pair % 5];
      const options = { temperature: 0.5 + random(100) / 50, ...narrow };
      const judge = new Sampler({ ...options, seed: pair });
      const drafter = new Sampler({ ...(pair % 2 ? options : { temperature: 1 }), seed: 1000 + pair });
      // What it draws alone, by many draws of another one: the exact probabilities come from the proposals of the judge
      // itself.
      const exact = new Sampler({ ...options, seed: 1 }).propose(p, context).probabilities!;
      const counts = new Map<string, number>();
      for (let run = 0; run < RUNS; run++) {
        const proposal = drafter.propose(q, context);
        const { token, logprob } = judge.sample(p, context, 0, proposal);
        if (token === proposal.token) refused++;
        counts.set(String(token), (counts.get(String(token)) ?? 0) + 1);
        expect(logprob).toBeLessThan(0);
      }
      const expected = new Map([...exact].flatMap((share, id) => (share > 0 ? [[String(id), share] as const] : [])));
      expect([...counts.keys()].every((key) => expected.has(key))).toBe(true);
      expect(chiSquare(counts, expected, RUNS), `pair ${pair}`).toBeLessThan(quantile(expected.size - 1));
    }
    expect(refused).toBeGreaterThan(20_000);
  });

  it('takes what is certain to be right, and never what is impossible', () => {
    const sampler = new Sampler({ temperature: 1, topK: 1, seed: 3 });
    const logits = Float32Array.of(0, 5, 1);
    const context = { tokens: [], promptLength: 0 };
    for (const token of [0, 1, 2, 7])
      for (let run = 0; run < 50; run++) {
        const probabilities = new Float64Array(8).fill(0.125);
        expect(sampler.sample(logits, context, 0, { token, probabilities }).token).toBe(1);
      }
  });
});

/** The probability of each pair of tokens, as "a,b". */
async function pairProbabilities(model: LanguageModel, prompt: readonly number[], temperature: number, topK: number) {
  const probabilities = (logits: Float32Array): [number, number][] => {
    const best = [...logits].map((logit, id) => [id, logit] as const).sort((a, b) => b[1] - a[1]);
    const weights = best
      .slice(0, topK)
      .map(([id, logit]) => [id, Math.exp((logit - best[0][1]) / temperature)] as const);
    const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
    return weights.map(([id, weight]) => [id, weight / total]);
  };
  const expected = new Map<string, number>();
  for (const [a, share] of probabilities(await model.prefill(model.createCache(), prompt)))
    for (const [b, rest] of probabilities(await model.prefill(model.createCache(), [...prompt, a])))
      expected.set(`${a},${b}`, share * rest);
  return expected;
}

function chiSquare(counts: ReadonlyMap<string, number>, expected: ReadonlyMap<string, number>, runs: number): number {
  let sum = 0;
  for (const [key, share] of expected) sum += ((counts.get(key) ?? 0) - share * runs) ** 2 / (share * runs);
  return sum;
}

/** What chi-square stays below but for one time in 10,000 (Wilson and Hilferty's approximation). */
function quantile(freedom: number): number {
  if (freedom === 0) return 1e-9;
  const z = 3.719;
  const a = 2 / (9 * freedom);
  return freedom * (1 - a + z * Math.sqrt(a)) ** 3;
}
