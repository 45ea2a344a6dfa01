import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { caseFolder, firstSlots } from '../../test/support/family-cases.ts';
import { ids } from '../../test/support/small-model.ts';
import { tempFolder } from '../../test/support/temp-folder.ts';
import { type AnyCacheOptions, POLICIES } from '../kvcache/policies.ts';
import { type KVCache, loadModel } from '../node.ts';
import { CacheBusyError, CacheFullError, InputError } from '../util/errors.ts';
import type { Generation } from './generation.ts';
import type { LanguageModel } from './language-model.ts';
import type { TextChunk } from './options.ts';
import type { LogitsProcessor } from './sampling/logits.ts';

const cacheDir = await tempFolder('generate');
let tiny: LanguageModel;
/** Two layers, 97 tokens and no tokenizer. */
let small: LanguageModel;

beforeAll(async () => {
  tiny = await loadModel('models/tiny', { weights: 'float32', cacheDir, generationConfig: false });
  small = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir, generationConfig: false });
});
afterAll(async () => {
  await tiny.dispose();
  await small.dispose();
});

const PROMPT = 'In the beginning God created the';

async function collect(generation: Generation): Promise<TextChunk[]> {
  const pieces: TextChunk[] = [];
  for await (const piece of generation) pieces.push(piece);
  return pieces;
}

/** Writes these tokens, whatever the model says. */
function dictate(script: readonly number[]): LogitsProcessor {
  return (logits, { tokens, promptLength }) => {
    const next = script[tokens.length - promptLength];
    if (next !== undefined) logits.fill(-Infinity).fill(0, next, next + 1);
  };
}

function argmax(values: ArrayLike<number>): number {
  let best = 0;
  for (let i = 1; i < values.length; i++) if (values[i] > values[best]) best = i;
  return best;
}

const tokensOf = ({ tokens }: { tokens: readonly { token: number }[] }): number[] => tokens.map(({ token }) => token);

/** Those that were computed, and the one that is pending. */
const allTokens = (cache: KVCache): number[] => [...cache.tokens(), ...cache.pending()];

describe('what is written', () => {
  it('is the same for the same seed, and another for another', async () => {
    const write = (seed: number) =>
      tiny.generate(PROMPT, { temperature: 1, topP: 0.95, seed, maxNewTokens: 24 }).result();
    const [one, again, other] = [await write(1), await write(1), await write(2)];
    expect(again.text).toBe(one.text);
    expect(again.tokens).toEqual(one.tokens);
    expect(other.text).not.toBe(one.text);
    expect(one.tokens.length).toBeGreaterThan(1);
  });

  it('is the most likely token after the other, unless stated', async () => {
    const { tokens, text } = await tiny.generate(PROMPT, { maxNewTokens: 16 }).result();
    const cache = tiny.createCache();
    let chunk = tiny.tokenizer.encode(PROMPT);
    const chain: number[] = [];
    for (let i = 0; i < 16; i++) {
      const { logits } = await tiny.step(cache, [chunk]);
      chain.push(argmax(logits));
      chunk = [chain[i]];
    }
    expect(tokensOf({ tokens })).toEqual(chain);
    expect(text).toBe(tiny.tokenizer.decode(chain));
  });

  it('is reported in pieces that make up the whole', async () => {
    const generation = tiny.generate(PROMPT, { maxNewTokens: 40, temperature: 1, seed: 5 });
    expect(generation.partial).toBeNull();
    const pieces = await collect(generation);
    const summary = generation.partial!;
    expect(pieces.map(({ text }) => text).join('')).toBe(summary.text);
    expect(pieces.flatMap(({ tokens }) => tokens)).toEqual(summary.tokens);
    expect(pieces.length).toBeGreaterThan(10);
    expect(pieces.every(({ text, tokens }) => text !== '' || tokens.length > 0)).toBe(true);
    expect(await generation.result()).toBe(summary);
    expect(summary).toMatchObject({
      usage: { promptTokens: tiny.tokenizer.encode(PROMPT).length, cachedTokens: 0, completionTokens: 40 },
      finishReason: 'length',
      cache: { policy: 'dense', evicted: [0] },
    });
    expect(summary.timings.prefillMs).toBeGreaterThan(0);
    expect(summary.timings.decodeMs).toBeGreaterThan(0);
  });

  it('ends after maxNewTokens', async () => {
    for (const maxNewTokens of [1, 2, 7]) {
      const { tokens, finishReason } = await small.generate(ids(5), { maxNewTokens, eosTokenIds: [] }).result();
      expect({ n: tokens.length, finishReason }).toEqual({ n: maxNewTokens, finishReason: 'length' });
    }
  });

  it('ends at the model’s end, which is no part of it', async () => {
    const script = [...tiny.tokenizer.encode(' the sea', { addSpecialTokens: false }), 1, 50];
    const summary = await tiny.generate(PROMPT, { processors: [dictate(script)] }).result();
    expect(summary).toMatchObject({ text: ' the sea', finishReason: 'eos' });
    expect(tokensOf(summary)).toEqual(script.slice(0, -2));
  });

  it('ends at tokens that the caller names instead', async () => {
    const script = [10, 1, 20, 30, 40];
    const own = await tiny.generate(PROMPT, { processors: [dictate(script)], eosTokenIds: [30, 77] }).result();
    expect(own.finishReason).toBe('eos');
    expect(tokensOf(own)).toEqual([10, 1, 20]);
    const none = await tiny
      .generate(PROMPT, { processors: [dictate(script)], eosTokenIds: [], maxNewTokens: 5 })
      .result();
    expect(none.finishReason).toBe('length');
    expect(tokensOf(none)).toEqual(script);
  });

  it('may be nothing at all', async () => {
    const generation = tiny.generate(PROMPT, { processors: [dictate([1])] });
    expect(await collect(generation)).toEqual([]);
    expect(generation.partial).toMatchObject({ text: '', tokens: [], finishReason: 'eos' });
  });

  it('is tokens alone where the model has no tokenizer', async () => {
    const generation = small.generate(ids(5), { maxNewTokens: 4 });
    const pieces = await collect(generation);
    expect(pieces).toEqual([{ text: '', tokens: generation.partial!.tokens }]);
    expect(generation.partial).toMatchObject({ text: '', usage: { promptTokens: 5 } });
    expect(() => small.generate(ids(5), { stop: 'x' })).toThrow(/stop strings need a tokenizer/);
  });

  it('follows biases, bans and the caller’s own processors', async () => {
    const free = await small.generate(ids(5), { maxNewTokens: 1 }).result();
    const first = free.tokens[0].token;
    const banned = await small.generate(ids(5), { maxNewTokens: 1, bannedTokens: [first] }).result();
    expect(banned.tokens[0].token).not.toBe(first);
    const biased = await small.generate(ids(5), { maxNewTokens: 3, logitBias: { 42: 100 } }).result();
    expect(tokensOf(biased)).toEqual([42, 42, 42]);
    const seen: number[][] = [];
    const processors: LogitsProcessor[] = [(_, { tokens, promptLength }) => seen.push([tokens.length, promptLength])];
    await small.generate(ids(5), { maxNewTokens: 3, processors, eosTokenIds: [] }).result();
    expect(seen).toEqual([
      [5, 5],
      [6, 5],
      [7, 5],
    ]);
  });
});

describe('logprobs', () => {
  it('are the model’s own, whatever the sampling', async () => {
    const options = { temperature: 0.7, topK: 5, seed: 3, maxNewTokens: 6, topLogprobs: 4, eosTokenIds: [] };
    const bias = { logitBias: { 42: 3 }, repetitionPenalty: 1.3 };
    const prompt = ids(9);
    const { tokens } = await small.generate(prompt, { ...options, ...bias }).result();
    const all = await small.prefill(small.createCache(), [...prompt, ...tokensOf({ tokens })], { logits: 'all' });
    tokens.forEach(({ token, logprob, top }, i) => {
      const row = Array.from(all.subarray((8 + i) * 97, (9 + i) * 97));
      const max = Math.max(...row);
      const normalizer = max + Math.log(row.reduce((sum, logit) => sum + Math.exp(logit - max), 0));
      expect(logprob).toBeCloseTo(row[token] - normalizer, 4);
      const best = row.map((logit, id) => ({ id, logit })).sort((a, b) => b.logit - a.logit || a.id - b.id);
      expect(top!.map((one) => one.token)).toEqual(best.slice(0, 4).map(({ id }) => id));
      top!.forEach((one, rank) => {
        expect(one.logprob).toBeCloseTo(best[rank].logit - normalizer, 4);
      });
    });
    expect(tokens).toHaveLength(6);
  });

  it('of other tokens come only where asked for', async () => {
    const { tokens } = await small.generate(ids(5), { maxNewTokens: 2 }).result();
    expect(tokens.every((one) => !('top' in one))).toBe(true);
    const all = await small.generate(ids(5), { maxNewTokens: 1, topLogprobs: 200 }).result();
    const top = all.tokens[0].top!;
    expect(top).toHaveLength(97);
    expect(top.reduce((sum, { logprob }) => sum + Math.exp(logprob), 0)).toBeCloseTo(1, 6);
    expect(top[0]).toEqual({ token: all.tokens[0].token, logprob: all.tokens[0].logprob });
  });
});

describe('stop strings', () => {
  const written = async (text: string, stop: string | readonly string[]) => {
    const script = tiny.tokenizer.encode(text, { addSpecialTokens: false });
    const processors = [dictate([...script, 1])];
    const generation = tiny.generate(PROMPT, { processors, stop, maxNewTokens: 100 });
    const pieces = await collect(generation);
    expect(pieces.map((piece) => piece.text).join('')).toBe(generation.partial!.text);
    return generation.partial!;
  };

  it.each<[string, string | readonly string[], string, string | undefined]>([
    // What is written, the stops, what is left of it, and what stopped it.
    [' aaab and', 'aab', ' a', 'aab'],
    [' abababc', 'ababc', ' ab', 'ababc'],
    [' aaaa', 'aaa', ' ', 'aaa'],
    [' one two three', ['three', 'two'], ' one ', 'two'],
    [' one two', [' two', 'one two'], ' ', 'one two'],
    [' one two', 'two ', ' one two', undefined],
    [' one two', ' one', '', ' one'],
    [' war and peace', 'and peac', ' war ', 'and peac'],
    [' line\n\nmore', '\n\n', ' line', '\n\n'],
    [' 12345', '345', ' 12', '345'],
    [' the sea', 'seal', ' the sea', undefined],
    [' 中文 text', '文', ' 中', '文'],
    [' 😀😁 x', '😁', ' 😀', '😁'],
  ])('%j is cut by %j', async (text, stop, left, stopString) => {
    const summary = await written(text, stop);
    expect({ text: summary.text, stopString: summary.stopString }).toEqual({ text: left, stopString });
    expect(summary.finishReason).toBe(stopString === undefined ? 'eos' : 'stop');
  });

  it('are never part of the text, wherever they appear', async () => {
    const text = ' abracadabra, and the sea and the sand';
    const whole = (await written(text, [])).text;
    expect(whole).toBe(text);
    await fc.assert(
      fc.asyncProperty(fc.nat(text.length - 1), fc.integer({ min: 1, max: 9 }), async (at, length) => {
        const stop = text.slice(at, at + length);
        const summary = await written(text, stop);
        expect(summary.text).toBe(text.slice(0, text.indexOf(stop)));
      }),
      { numRuns: 25 },
    );
  });

  it('end the writing', async () => {
    const { tokens } = await written(' one two three four five', 'two');
    const text = tiny.tokenizer.decode(tokensOf({ tokens }));
    expect(text).toContain('two');
    expect(text).not.toContain('four');
  });
});

describe('pieces', () => {
  it('never end within a character', async () => {
    const text = ' é中文😀 e\u0301 👩‍👩‍👧 ﷽ ы';
    const script = tiny.tokenizer.encode(text, { addSpecialTokens: false });
    expect(script.length).toBeGreaterThan(30); // bytes, not whole characters
    const pieces = await collect(tiny.generate(PROMPT, { processors: [dictate([...script, 1])] }));
    expect(pieces.map((piece) => piece.text).join('')).toBe(text);
    for (const piece of pieces) {
      expect(piece.text).not.toContain('\uFFFD');
      expect(piece.text).not.toMatch(/\p{Surrogate}/u);
    }
    // A character of several tokens comes with all of them.
    expect(pieces.some(({ tokens }) => tokens.length >= 4)).toBe(true);
  });

  it('hold back no more than the last character, which may be cut off', async () => {
    const script = tiny.tokenizer.encode(' a😀', { addSpecialTokens: false }).slice(0, -1);
    const pieces = await collect(tiny.generate(PROMPT, { processors: [dictate([...script, 1])] }));
    expect(pieces.at(-1)!.text).toBe('\uFFFD');
    expect(pieces.map((piece) => piece.text).join('')).toBe(' a\uFFFD');
  });
});

describe('an abort', () => {
  const reason = new Error('enough');

  it('before the first token leaves the cache alone', async () => {
    const cache = small.createCache();
    const generation = small.generate(ids(5), { cache, signal: AbortSignal.abort(reason) });
    await expect(generation.result()).rejects.toBe(reason);
    expect(cache.length()).toBe(0);
    expect(generation.partial).toMatchObject({
      finishReason: 'aborted',
      text: '',
      tokens: [],
      usage: { promptTokens: 5 },
    });
  });

  it('during the prompt ends between chunks', async () => {
    const aborter = new AbortController();
    const cache = small.createCache();
    const progress: number[] = [];
    const onPrefill = (done: number, total: number) => {
      progress.push(done, total);
      if (done === 6) aborter.abort(reason);
    };
    const generation = small.generate(ids(20), { cache, chunkLength: 3, signal: aborter.signal, onPrefill });
    await expect(collect(generation)).rejects.toBe(reason);
    expect(progress).toEqual([3, 20, 6, 20]);
    expect(cache.tokens()).toEqual(ids(20).slice(0, 6));
    // The cache goes on where it was left.
    const rest = await small.prefill(cache, ids(20).slice(6));
    const whole = await small.prefill(small.createCache(), ids(20));
    rest.forEach((logit, i) => {
      expect(logit).toBeCloseTo(whole[i], 4);
    });
  });

  it('between tokens ends the iteration, and the text so far was given', async () => {
    const aborter = new AbortController();
    const cache = tiny.createCache();
    const generation = tiny.generate(PROMPT, { cache, signal: aborter.signal, maxNewTokens: 50 });
    const tokens: number[] = [];
    await expect(async () => {
      for await (const piece of generation) {
        tokens.push(...tokensOf(piece));
        if (tokens.length >= 5) aborter.abort(reason);
      }
    }).rejects.toBe(reason);
    expect(tokens.length).toBe(5);
    expect(generation.partial).toMatchObject({ finishReason: 'aborted', text: ' heavens. He made the' });
    expect(tokensOf(generation.partial!)).toEqual(tokens);
    const prompt = tiny.tokenizer.encode(PROMPT);
    expect(cache.tokens()).toEqual([...prompt, ...tokens.slice(0, 4)]);
    await expect(generation.result()).rejects.toBe(reason);
  });
});

describe('a generation', () => {
  it('can be iterated once', async () => {
    const generation = small.generate(ids(5), { maxNewTokens: 2 });
    await collect(generation);
    await expect(collect(generation)).rejects.toThrow(/iterated already; call generate again/);
    const broken = tiny.generate(PROMPT, { maxNewTokens: 4 });
    const iterator = broken[Symbol.asyncIterator]();
    await iterator.next();
    await expect(broken.result()).rejects.toThrow(InputError);
  });

  it('may be left early', async () => {
    const cache = tiny.createCache();
    for await (const _ of tiny.generate(PROMPT, { cache, maxNewTokens: 50 })) break;
    expect(cache.length()).toBe(tiny.tokenizer.encode(PROMPT).length);
    expect((await tiny.generate(' earth', { cache, maxNewTokens: 2 }).result()).tokens).toHaveLength(2);
  });

  it('says at once what is wrong with its options', () => {
    const refused = (options: object, message: RegExp) => {
      expect(() => small.generate(ids(5), options)).toThrow(InputError);
      expect(() => small.generate(ids(5), options)).toThrow(message);
    };
    for (const bad of [0, -1, 1.5, Number.NaN]) {
      refused({ maxNewTokens: bad }, /maxNewTokens must be a whole number of at least 1/);
      refused({ chunkLength: bad }, /chunkLength must be a whole number of at least 1/);
    }
    refused({ topLogprobs: -1 }, /topLogprobs must be a whole number of at least 0/);
    refused({ eosTokenIds: [1.5] }, /eosTokenIds must be a whole number/);
    refused({ temperature: -1 }, /temperature/);
    refused({ topP: 0 }, /topP/);
    refused({ seed: -1 }, /seed/);
    refused({ cache: { policy: 'none' } }, /there is no cache policy "none"; there are dense, lastrec/);
    refused({ cache: { cacheLength: 0 } }, /cacheLength must be a whole number of at least 1/);
    refused({ cache: small.createCache({ batch: 2 }) }, /has one row, but the cache has 2/);
    expect(() => tiny.generate(PROMPT, { stop: ['a', ''] })).toThrow(/a stop string is empty/);
    expect(() => tiny.generate(PROMPT, { stop: '\uD83D' })).toThrow(/half of a surrogate pair/);
    expect(() => tiny.generate('', { addSpecialTokens: false })).toThrow(/the prompt is empty/);
  });

  it('does not follow what the caller does with the prompt later', async () => {
    const prompt = ids(5);
    const generation = small.generate(prompt, { maxNewTokens: 3 });
    prompt.length = 1;
    expect((await generation.result()).tokens).toEqual(
      (await small.generate(ids(5), { maxNewTokens: 3 }).result()).tokens,
    );
  });

  it('ends where a dense cache has no slot for more', async () => {
    const cache = small.createCache({ policy: 'dense', cacheLength: 8 });
    const generation = small.generate(ids(5), { cache, maxNewTokens: 20, eosTokenIds: [] });
    expect(await generation.result()).toMatchObject({ finishReason: 'length', usage: { completionTokens: 4 } });
    expect(cache.length()).toBe(8);
    await expect(small.generate(ids(9), { cache: { policy: 'dense', cacheLength: 8 } }).result()).rejects.toThrow(
      CacheFullError,
    );
    const fits = small.generate(ids(5), {
      cache: { policy: 'dense', cacheLength: 8 },
      maxNewTokens: 4,
      eosTokenIds: [],
    });
    expect((await fits.result()).tokens).toHaveLength(4);
    expect(allTokens(fits.cache)).toHaveLength(9);
  });

  it('may write up to the last position that a model has learned', async () => {
    await using gpt2 = await loadModel(caseFolder('gpt2'), { weights: 'float32', cacheDir, generationConfig: false });
    const write = (maxNewTokens: number) =>
      gpt2.generate(ids(120), { cache: { policy: 'dense', cacheLength: 512 }, maxNewTokens, eosTokenIds: [] });
    expect((await write(9).result()).tokens).toHaveLength(9);
    expect(await write(10).result()).toMatchObject({ finishReason: 'length', usage: { completionTokens: 9 } });
  });
});

describe('generations at the same time', () => {
  it('do not get into each other’s way', async () => {
    const prompts = [PROMPT, 'The jargon of hackers', 'And the king said', 'A'];
    const write = (prompt: string) => tiny.generate(prompt, { maxNewTokens: 12 }).result();
    const alone: string[] = [];
    for (const prompt of prompts) alone.push((await write(prompt)).text);
    const together = await Promise.all(prompts.map(write));
    expect(together.map(({ text }) => text)).toEqual(alone);
  });

  it('go on where one of them fails', async () => {
    const fine = small.generate(ids(5), { maxNewTokens: 6, eosTokenIds: [] }).result();
    const full = small.generate(ids(9), { maxNewTokens: 6, cache: { policy: 'dense', cacheLength: 6 } }).result();
    const results = await Promise.allSettled([full, fine]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
    const alone = await small.generate(ids(5), { maxNewTokens: 6, eosTokenIds: [] }).result();
    expect(tokensOf(await fine)).toEqual(tokensOf(alone));
  });

  it('are ended between steps by the disposal of the model', async () => {
    const model = await loadModel(caseFolder('llama'), { weights: 'float32', cacheDir, generationConfig: false });
    const prefill = model.prefill(model.createCache(), ids(5));
    const generation = model.generate(ids(5), { maxNewTokens: 50, eosTokenIds: [] }).result();
    await model.dispose();
    expect(await prefill).toHaveLength(97);
    await expect(generation).rejects.toThrow(/was disposed of and can/);
  });
});

describe('going on in the same cache', () => {
  it('is one longer prompt', async () => {
    const cache = small.createCache();
    const first = await small.generate(ids(7), { cache, maxNewTokens: 5, eosTokenIds: [] }).result();
    expect(allTokens(cache)).toEqual([...ids(7), ...tokensOf(first)]);
    expect(cache.pending()).toEqual(tokensOf(first).slice(-1));
    const second = await small.generate(ids(4, 50), { cache, maxNewTokens: 6, eosTokenIds: [] }).result();
    const whole = [...ids(7), ...tokensOf(first), ...ids(4, 50)];
    const one = await small.generate(whole, { maxNewTokens: 6, eosTokenIds: [] }).result();
    expect(tokensOf(second)).toEqual(tokensOf(one));
    second.tokens.forEach(({ logprob }, i) => {
      expect(logprob).toBeCloseTo(one.tokens[i].logprob, 4);
    });
    expect(second.usage.promptTokens).toBe(4);
    expect(second.cache.seen).toEqual([21]);
  });

  it('is so after an end, a stop string and one token, too', async () => {
    const cache = tiny.createCache();
    const prompt = tiny.tokenizer.encode(PROMPT);
    const ended = await tiny.generate(PROMPT, { cache, processors: [dictate([50, 60, 1])] }).result();
    expect(cache.tokens()).toEqual([...prompt, ...tokensOf(ended)]);
    expect(cache.pending()).toEqual([]);
    const sea = tiny.tokenizer.encode(' the sea', { addSpecialTokens: false });
    const stopped = await tiny.generate([70], { cache, stop: 'sea', processors: [dictate(sea)] }).result();
    expect(allTokens(cache)).toEqual([...prompt, 50, 60, 70, ...tokensOf(stopped)]);
    const single = await tiny.generate([80], { cache, maxNewTokens: 1 }).result();
    expect(allTokens(cache).slice(-2)).toEqual([80, single.tokens[0].token]);
  });

  it('puts no special tokens between', async () => {
    const cache = tiny.createCache();
    await tiny.generate(PROMPT, { cache, maxNewTokens: 3 }).result();
    const before = allTokens(cache).length;
    await tiny.generate(' earth', { cache, maxNewTokens: 1 }).result();
    const earth = tiny.tokenizer.encode(' earth', { addSpecialTokens: false });
    expect(cache.tokens().slice(before)).toEqual(earth);
    expect(cache.tokens()[0]).toBe(0);
    const stated = tiny.createCache();
    await tiny.generate(' earth', { cache: stated, maxNewTokens: 1, addSpecialTokens: false }).result();
    expect(stated.tokens()).toEqual(earth);
  });

  it('counts what was in it for penalties', async () => {
    const cache = small.createCache();
    await small.prefill(cache, ids(6));
    let seen: readonly number[] = [];
    const processors: LogitsProcessor[] = [
      (_, { tokens }) => {
        seen = [...tokens];
      },
    ];
    await small.generate([9], { cache, maxNewTokens: 1, processors }).result();
    expect(seen).toEqual([...ids(6), 9]);
  });

  it('gives the same whatever the chunks of the prompt', async () => {
    const texts = new Set<string>();
    for (const chunkLength of [1, 5, 256])
      texts.add((await tiny.generate(PROMPT, { chunkLength, maxNewTokens: 20 }).result()).text);
    expect(texts.size).toBe(1);
  });
});

describe('a budget', () => {
  /** The sinks, and the most recent tokens. */
  function lastRecent(seen: number, budget: number, sinks: number): number[] {
    const all = Array.from({ length: seen }, (_, position) => position);
    return seen <= budget ? all : [...all.slice(0, sinks), ...all.slice(seen - (budget - sinks))];
  }

  function expectPolicy(model: LanguageModel, cache: KVCache, budget: number, sinks: number): void {
    const held = lastRecent(cache.length(), budget, sinks);
    for (let layer = 0; layer < model.config.nLayer; layer++)
      for (let group = 0; group < firstSlots(model.config).groups; group++)
        expect(cache.tokenPositions(layer, 0, group)).toEqual(held);
    expect(cache.stats()).toMatchObject({
      held: [held.length],
      evicted: [cache.length() - held.length],
      seen: [cache.length()],
    });
    expect(cache.memory().keysAndValues).toBeLessThanOrEqual(cache.memory().keysAndValuesLimit);
  }

  it('is kept after every step, by the first tokens and the last', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 24 }),
        fc.nat(5),
        fc.array(fc.integer({ min: 1, max: 20 }), { minLength: 1, maxLength: 12 }),
        async (cacheLength, wanted, chunks) => {
          const sinks = Math.min(wanted, cacheLength - 1);
          const cache = small.createCache({ policy: 'lastrec', cacheLength, sinks });
          for (const length of chunks) {
            await small.step(cache, [ids(length, cache.length())], { logits: 'none' });
            expectPolicy(small, cache, cacheLength, sinks);
          }
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is kept while text is written, and its memory does not grow', async () => {
    const budget = 32;
    const cache = tiny.createCache({ policy: 'lastrec', cacheLength: budget });
    const prompt = ids(100).map((id) => id * 40);
    const options = { cache, chunkLength: 16, maxNewTokens: 100, eosTokenIds: [], temperature: 1, seed: 1 };
    const onPrefill = () => expectPolicy(tiny, cache, budget, 4);
    let memory = 0;
    let total = 0;
    for await (const _ of tiny.generate(prompt, { ...options, onPrefill })) {
      expectPolicy(tiny, cache, budget, 4);
      memory ||= cache.memory().keysAndValues;
      total ||= cache.memory().total;
      expect(cache.memory().keysAndValues).toBe(memory);
    }
    expect(cache.length()).toBe(199);
    // 6 layers, 2 groups, 32 numbers, keys and values, 4 bytes.
    expect(memory).toBe(6 * 2 * 32 * 2 * 4 * budget);
    expect(cache.memory().keysAndValuesLimit).toBe(memory);
    // What grows is the list of the tokens seen.
    expect(cache.memory().total - total).toBeLessThanOrEqual(100 * 16);
  });

  it.each(Object.keys(POLICIES))('as large as the sequence changes nothing: %s', async (policy) => {
    const options = { maxNewTokens: 40, temperature: 1, seed: 9, eosTokenIds: [], chunkLength: 7 };
    const write = (cache: Partial<AnyCacheOptions>) => tiny.generate(PROMPT, { ...options, cache }).result();
    // One of them asks for slots that lose something.
    const buffer = policy === 'qh2o' ? 'int8' : 'float32';
    const dense = await write({ buffer });
    const length = dense.cache.seen[0];
    const known =
      policy === 'routed' ? { length, table: await tiny.calibrate({ length: 32, texts: [PROMPT.repeat(9)] }) } : {};
    expect((await write({ policy, buffer, cacheLength: length, ...known })).text).toBe(dense.text);
  });

  it('that is smaller changes what is written', async () => {
    const write = (cache: Partial<AnyCacheOptions>) => tiny.generate(PROMPT, { maxNewTokens: 60, cache }).result();
    expect((await write({ policy: 'lastrec', cacheLength: 6 })).text).not.toBe((await write({})).text);
  });

  it('that holds the window costs a model with windows nothing', async () => {
    await using mistral = await loadModel(caseFolder('mistral'), {
      weights: 'float32',
      cacheDir,
      generationConfig: false,
    }); // a window of 8
    const prompt = ids(40);
    const dense = mistral.createCache();
    const whole = await mistral.prefill(dense, prompt);
    expect(dense.tokenPositions(0)).toEqual([33, 34, 35, 36, 37, 38, 39]);
    expect(dense.stats().evicted).toEqual([0]);
    const cache = mistral.createCache({ policy: 'lastrec', cacheLength: 8, sinks: 0 });
    const last = await mistral.prefill(cache, prompt, { chunkLength: 3 });
    last.forEach((logit, i) => {
      expect(logit).toBeCloseTo(whole[i], 4);
    });
  });

  it('is each row’s own in a batch', async () => {
    const cache = small.createCache({ policy: 'lastrec', cacheLength: 6, sinks: 2, batch: 2 });
    await small.step(cache, [ids(9), ids(3)]);
    await small.step(cache, [ids(1), []]);
    await small.step(cache, [[], ids(2)]);
    expect(cache.tokenPositions(0, 0)).toEqual([0, 1, 6, 7, 8, 9]);
    expect(cache.tokenPositions(1, 1)).toEqual([0, 1, 2, 3, 4]);
    expect(cache.stats()).toMatchObject({ seen: [10, 5], held: [6, 5], evicted: [4, 0] });
  });
});

describe('the checkpoint’s generation_config.json', () => {
  it('counts where an option is not given, unless it is turned off', async () => {
    const model = await loadModel('models/tiny', { weights: 'float32', cacheDir });
    const write = async (options: object) =>
      (await model.generate(PROMPT, { maxNewTokens: 16, ...options }).result()).text;
    // It says do_sample, temperature 0.8 and top_p 0.95.
    expect(model.defaults).toEqual({ temperature: 0.8, topP: 0.95 });
    expect(await write({ seed: 1 })).toBe(
      await write({ seed: 1, temperature: 0.8, topP: 0.95, generationConfig: false }),
    );
    const greedy = await write({ generationConfig: false });
    expect(await write({ temperature: 0 })).toBe(greedy);
    expect(await write({ seed: 1, temperature: undefined })).not.toBe(greedy);
    expect((await tiny.generate(PROMPT, { maxNewTokens: 16 }).result()).text).toBe(greedy);
    await model.dispose();
  });
});

describe('options', () => {
  it('with unknown names are refused, with the name that was meant', async () => {
    expect(() => small.generate(ids(5), { maxTokens: 3 } as object)).toThrow(
      'generate has no option maxTokens; it is called maxNewTokens here',
    );
    expect(() => small.generate(ids(5), { speculate: { token: 3 } as object })).toThrow(
      'speculate has no option token; did you mean tokens?',
    );
    expect(() => small.generateBatch([], { batchsize: 3 } as object)).toThrow(/did you mean batchSize\?/);
    await expect(small.score(ids(5), { chunk: 3 } as object)).rejects.toThrow(/score has no option chunk/);
  });

  it('may be a prompt of messages', async () => {
    const template = '{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:';
    const messages = [{ role: 'user', content: 'Who art thou?' }];
    const options = { template, maxNewTokens: 6 };
    expect(await tiny.generate(messages, options).text()).toBe(await tiny.chat(messages, options).text());
  });

  it('may be a drafter of one’s own', async () => {
    const plain = tokensOf(await small.generate(ids(5), { maxNewTokens: 20, eosTokenIds: [] }).result());
    const oracle = {
      propose: async (context: readonly number[], most: number) =>
        plain.slice(context.length - 5, context.length - 5 + most).map((token) => ({ token, probabilities: null })),
    };
    const run = small.generate(ids(5), { maxNewTokens: 20, eosTokenIds: [], speculate: { drafter: () => oracle } });
    const { tokens, speculation } = await run.result();
    expect(tokensOf({ tokens })).toEqual(plain);
    expect(speculation!.steps).toBeLessThan(6);
  });
});

describe('a cacheLength alone', () => {
  it('keeps the most recent tokens, as on the command line', () => {
    expect(small.createCache({ cacheLength: 16 }).policy).toBe('lastrec');
    expect(small.createCache().policy).toBe('dense');
    expect(small.createCache({ policy: 'dense', cacheLength: 16 }).policy).toBe('dense');
  });
});

describe('a cache', () => {
  it('that another generation uses is refused, and so are the two no more once it has ended', async () => {
    const cache = small.createCache();
    const first = small.generate(ids(5), { cache, maxNewTokens: 8, eosTokenIds: [] });
    const second = small.generate(ids(7), { cache, maxNewTokens: 8, eosTokenIds: [] });
    const [a, b] = await Promise.allSettled([first.result(), second.result()]);
    expect(a.status).toBe('fulfilled');
    expect(b).toMatchObject({ status: 'rejected', reason: expect.any(CacheBusyError) });
    expect(String((b as PromiseRejectedResult).reason)).toMatch(/in use by a generation/);
    expect(allTokens(cache)).toHaveLength(13);
    await small.generate(ids(3), { cache, maxNewTokens: 2, eosTokenIds: [] }).result();
    expect(allTokens(cache)).toHaveLength(18);
  });

  it('can not be changed while a generation has it, and is free when that ends', async () => {
    const cache = tiny.createCache();
    let checks = 0;
    for await (const _ of tiny.generate(PROMPT, { cache, maxNewTokens: 8, eosTokenIds: [] })) {
      if (cache.user === null) break; // the last chunk comes after the end
      checks++;
      expect(() => cache.clear()).toThrow(CacheBusyError);
      expect(() => cache.truncate(2)).toThrow(CacheBusyError);
      await expect(tiny.step(cache, [[7]])).rejects.toThrow(CacheBusyError);
      await expect(tiny.score([5, 6], { cache })).rejects.toThrow(CacheBusyError);
      expect(cache.fork().length()).toBeGreaterThanOrEqual(5);
    }
    expect(checks).toBeGreaterThan(3);
    expect(cache.user).toBeNull();
    cache.clear();
  });

  it('that is released fails the generation that uses it, and no other', async () => {
    const cache = tiny.createCache();
    const other = tiny.generate(PROMPT, { maxNewTokens: 8, eosTokenIds: [] }).result();
    const run = tiny.generate(PROMPT, { cache, maxNewTokens: 8, eosTokenIds: [] });
    await expect(async () => {
      for await (const _ of run) cache.dispose();
    }).rejects.toThrow(/the cache was disposed of/);
    expect((await other).tokens).toHaveLength(8);
    await expect(tiny.generate(PROMPT, { cache }).result()).rejects.toThrow(/the cache was disposed of/);
  });

  it('is free once an iterator that was dropped is collected', async () => {
    setFlagsFromString('--expose-gc');
    const gc = runInNewContext('gc') as () => void;
    const cache = tiny.createCache();
    await (async () => {
      const run = tiny.generate(PROMPT, { cache, maxNewTokens: 8, eosTokenIds: [] });
      await run[Symbol.asyncIterator]().next();
    })();
    expect(cache.user).toBe('a generation');
    for (let i = 0; i < 100 && cache.user !== null; i++) {
      gc();
      await new Promise((done) => setTimeout(done, 10));
    }
    expect(cache.user).toBeNull();
  });

  it('keeps its pending token in forks and snapshots', async () => {
    const cache = small.createCache();
    const { tokens } = await small.generate(ids(5), { cache, maxNewTokens: 3, eosTokenIds: [] }).result();
    const saved = await small.restore(await small.snapshot(cache));
    for (const copy of [cache.fork(), saved]) {
      expect(copy.pending()).toEqual([tokens[2].token]);
      const next = await small.generate([9], { cache: copy, maxNewTokens: 3, eosTokenIds: [] }).result();
      const whole = [...ids(5), ...tokensOf({ tokens }), 9];
      expect(tokensOf(next)).toEqual(
        tokensOf(await small.generate(whole, { maxNewTokens: 3, eosTokenIds: [] }).result()),
      );
    }
  });
});
