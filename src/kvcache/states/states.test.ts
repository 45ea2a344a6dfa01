import { describe, expect, it } from 'vitest';
import { caseFolder, MORE_CASES } from '../../../test/support/family-cases.ts';
import { tempFolder } from '../../../test/support/temp-folder.ts';
import type { RgLru } from '../../config/layer-spec.ts';
import { crossSpec } from '../../model/mixers/cross-attention.ts';
import { type LanguageModel, loadModel } from '../../node.ts';
import { InputError } from '../../util/errors.ts';
import type { KVCache } from '../kv-cache.ts';
import type { CacheShape } from '../shape.ts';
import { CrossAttentionStates } from './cross-attention-states.ts';
import { RecurrentStates } from './recurrent-states.ts';

const cacheDir = await tempFolder('states');
const SHAPE: CacheShape = {
  layers: [],
  states: [
    { name: 'a', dims: [2] },
    { name: 'b', dims: [2, 2] },
  ],
  cross: [{ layer: 1, groups: 2, keySize: 3, valueSize: 3 }],
};

/** A chunk of one token in each row, after which the states are these. */
const chunk = (a: number[], b: number[], rows: number) => ({
  tokens: Array.from({ length: rows }, () => [7]),
  length: 1,
  keys: [],
  values: [],
  phase: 'decode' as const,
  states: {
    times: Array.from({ length: rows }, () => [1]),
    values: new Map([
      ['a', Float32Array.from(a)],
      ['b', Float32Array.from(b)],
    ]),
  },
});
const lists = (arrays: Float32Array[]) => arrays.map((array) => [...array]);

describe('RecurrentStates', () => {
  it('takes over a chunk’s states, and gives them back', () => {
    const table = new RecurrentStates(2, SHAPE);
    expect(lists(table.rowViews(1))).toEqual([
      [0, 0],
      [0, 0, 0, 0],
    ]);
    table.advance([0, 1], chunk([1, 2, 3, 4], [1, 2, 3, 4, 5, 6, 7, 8], 2));
    table.advance([1], chunk([0, 0, 9, 9], [0, 0, 0, 0, 9, 9, 9, 9], 2));
    expect(lists(table.rowViews(0))).toEqual([
      [1, 2],
      [1, 2, 3, 4],
    ]);
    expect(lists(table.rowViews(1))[0]).toEqual([9, 9]);
    table.revert(1);
    expect(lists(table.rowViews(1))).toEqual([
      [3, 4],
      [5, 6, 7, 8],
    ]);
  });

  it('shares its memory until one writes, and counts it', () => {
    const table = new RecurrentStates(1, SHAPE);
    table.advance([0], chunk([1, 2], [3, 4, 5, 6], 1));
    const twin = new RecurrentStates(1, SHAPE);
    twin.share(table);
    twin.own();
    twin.advance([0], chunk([7, 7], [7, 7, 7, 7], 1));
    expect(lists(table.rowViews(0))[0]).toEqual([1, 2]);
    expect(lists(twin.rowViews(0))[0]).toEqual([7, 7]);
    expect([table.bytes, table.undoBytes]).toEqual([24, 24]);
    twin.copyRow(table, 0, 0);
    expect(lists(twin.rowViews(0))[0]).toEqual([1, 2]);
    twin.clearRow(0);
    expect(lists(twin.rowViews(0))[0]).toEqual([0, 0]);
    table.setBatch(3);
    expect(lists(table.rowViews(0))[0]).toEqual([1, 2]);
    expect(table.inputs().map(({ name, dims }) => [name, dims])).toEqual([
      ['a', [3, 2]],
      ['b', [3, 2, 2]],
    ]);
  });
});

describe('CrossAttentionStates', () => {
  const values = (count: number, first: number) =>
    Float32Array.from({ length: 2 * 2 * count * 3 }, (_, i) => first + i);

  it('keeps each row’s keys and values, of different lengths', () => {
    const table = new CrossAttentionStates(2, SHAPE);
    expect([table.any, table.capacity]).toEqual([false, 0]);
    table.set(0, values(1, 0), 1);
    table.set(1, values(2, 100), 2);
    expect([table.any, table.capacity, table.length(0), table.length(1)]).toEqual([true, 2, 1, 2]);
    expect(lists(table.rowViews(0))).toEqual([
      [0, 1, 2],
      [3, 4, 5],
      [6, 7, 8],
      [9, 10, 11],
    ]);
    expect(lists(table.rowViews(1)).flat()).toEqual([...values(2, 100)]);
    expect(table.inputs().map(({ name, dims }) => [name, dims])).toEqual([
      ['k.1', [2, 2, 2, 3]],
      ['v.1', [2, 2, 2, 3]],
    ]);
    table.set(1, values(1, 50), 1);
    expect([table.capacity, table.length(1)]).toEqual([1, 1]);
    expect(lists(table.rowViews(0)).flat()).toEqual([...values(1, 0)]);
    table.clearRow(0);
    table.clearRow(1);
    expect(table.any).toBe(false);
  });

  it('copies rows, also within itself, and shares', () => {
    const table = new CrossAttentionStates(2, SHAPE);
    table.set(0, values(2, 0), 2);
    table.copyRow(table, 0, 1);
    table.copyRow(table, 0, 0);
    expect(lists(table.rowViews(1)).flat()).toEqual([...values(2, 0)]);
    const twin = new CrossAttentionStates(2, SHAPE);
    twin.share(table);
    twin.set(0, values(1, 9), 1);
    expect(lists(table.rowViews(0)).flat()).toEqual([...values(2, 0)]);
    expect(lists(twin.rowViews(1)).flat()).toEqual([...values(2, 0)]);
    expect(table.bytes).toBe(2 * 2 * 2 * 2 * 3 * 4);
  });

  it('refuses a model that attends to nothing else', () => {
    const table = new CrossAttentionStates(1, { ...SHAPE, cross: undefined });
    expect(() => table.set(0, values(1, 0), 1)).toThrow(InputError);
  });
});

const PROMPT = [5, 17, 33, 8, 61, 90, 12, 44, 7, 29, 53, 71];
const all = (model: LanguageModel, cache: KVCache, tokens: readonly number[]) =>
  model.prefill(cache, tokens, { logits: 'all' });
const load = (folder: string) => loadModel(folder, { weights: 'float32', cacheDir });

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, most = 2e-5): void {
  expect(actual.length).toBe(expected.length);
  const worst = Math.max(...Array.from(actual, (x, i) => Math.abs(x - expected[i])));
  expect(worst).toBeLessThan(most);
}

describe('a cache of a recurrent model', () => {
  const open = () => load(caseFolder('recurrent_gemma'));

  it('goes on from forks and from saved bytes as if nothing had been between', async () => {
    await using model = await open();
    const cache = model.createCache();
    await all(model, cache, PROMPT.slice(0, 6));
    const fork = cache.fork();
    const saved = await model.restore(await model.snapshot(cache));
    const expected = await all(model, cache, PROMPT.slice(6));
    expect(await all(model, fork, PROMPT.slice(6))).toEqual(expected);
    expect(await all(model, saved, PROMPT.slice(6))).toEqual(expected);
    cache.clear();
    const fresh = await all(model, cache, PROMPT);
    expectClose(fresh.subarray(6 * model.config.vocabSize), expected);
  });

  it('takes the last chunk back, as a whole or in part', async () => {
    await using model = await open();
    const cache = model.createCache();
    await all(model, cache, PROMPT.slice(0, 5));
    const expected = await all(model, cache, PROMPT.slice(5));
    cache.truncate(5);
    expect(await all(model, cache, PROMPT.slice(5))).toEqual(expected);
    expect(() => cache.truncate(8)).toThrow(/recurrent states are known only at the end of the last chunk/);
    expect(cache.length()).toBe(12);
    cache.truncate(5);
    await model.step(cache, [PROMPT.slice(5)], { logits: 'none', eachQuery: true });
    cache.truncate(8);
    expectClose(await all(model, cache, PROMPT.slice(8)), expected.subarray(3 * model.config.vocabSize));
    expect(() => cache.truncate(2)).toThrow(/recurrent states, which remember only the last chunk/);
  });

  it('keeps rows of different lengths apart', async () => {
    await using model = await open();
    const rows = [PROMPT, PROMPT.slice(3, 5), PROMPT.slice(2)];
    const cache = model.createCache({ batch: 3 });
    await model.step(cache, rows, { logits: 'none' });
    await model.step(cache, [[], [9], []], { logits: 'none' });
    const { logits } = await model.step(cache, [[3], [3], [3]]);
    const { vocabSize: V } = model.config;
    for (const [i, row] of [PROMPT, [...rows[1], 9], rows[2]].entries()) {
      const alone = model.createCache();
      expectClose(logits.subarray(i * V, (i + 1) * V), await model.prefill(alone, [...row, 3]));
      if (i === 0) continue;
      alone.copyRow(cache, i, 0);
      expectClose(await model.prefill(alone, [4]), await model.prefill(model.createCache(), [...row, 3, 4]));
    }
  });

  it('counts states, and keeps within its budget under a policy that evicts', async () => {
    await using model = await open();
    const dense = model.createCache();
    const { width, convWidth } = model.config.layers[0].mixer as RgLru;
    expect(dense.memory().states).toBe(2 * 4 * width * convWidth);
    expect(dense.stats().bytes).toBe(dense.memory().total);
    for (const policy of ['lastrec', 'h2o', 'expected']) {
      const small = model.createCache({ policy, cacheLength: 4 });
      await all(model, small, PROMPT);
      expect(small.tokenPositions(2).length).toBeLessThanOrEqual(4);
      expect(small.tokenPositions(0)).toEqual([]);
      const roomy = model.createCache({ policy, cacheLength: 64 });
      expectClose(await all(model, roomy, PROMPT), await all(model, model.createCache(), PROMPT));
    }
  });
});

describe('a cache with attached states', () => {
  const open = () => load(`${MORE_CASES}/mllama-cross`);
  const states = (model: LanguageModel, count: number, first = 0) =>
    Float32Array.from({ length: count * crossSpec(model.config)!.width }, (_, i) => Math.sin(first + i));

  it('goes on from forks and from saved bytes as if nothing had been between', async () => {
    await using model = await open();
    const cache = model.createCache();
    await model.setCrossAttentionStates(cache, states(model, 4));
    await all(model, cache, PROMPT.slice(0, 6));
    const fork = cache.fork();
    const saved = await model.restore(await model.snapshot(cache));
    const expected = await all(model, cache, PROMPT.slice(6));
    expect(await all(model, fork, PROMPT.slice(6))).toEqual(expected);
    expect(await all(model, saved, PROMPT.slice(6))).toEqual(expected);
    await model.setCrossAttentionStates(fork, states(model, 4, 50));
    fork.truncate(6);
    const other = await all(model, fork, PROMPT.slice(6));
    expect(other).not.toEqual(expected);
    expect(cache.memory().states).toBe(2 * 2 * 4 * (2 * 4 * 8));
  });

  it('gives each row what was attached to it, or nothing', async () => {
    await using model = await open();
    const cache = model.createCache({ batch: 3 });
    await model.setCrossAttentionStates(cache, states(model, 2), 0);
    await model.setCrossAttentionStates(cache, states(model, 5, 9), 2);
    const { logits } = await model.step(cache, [PROMPT, PROMPT, PROMPT]);
    const { vocabSize: V } = model.config;
    for (const [row, own] of [states(model, 2), null, states(model, 5, 9)].entries()) {
      const alone = model.createCache();
      if (own) await model.setCrossAttentionStates(alone, own);
      expectClose(logits.subarray(row * V, (row + 1) * V), await model.prefill(alone, PROMPT));
    }
  });

  it('refuses what does not fit', async () => {
    await using model = await open();
    const cache = model.createCache();
    await expect(model.setCrossAttentionStates(cache, new Float32Array(33))).rejects.toThrow(/rows of 32 numbers/);
    await expect(model.setCrossAttentionStates(cache, new Float32Array(0))).rejects.toThrow(InputError);
    await model.setCrossAttentionStates(cache, states(model, 2));
    const wrong = { crossAttentionMask: [[[1, 1]]] };
    await expect(model.step(cache, [[5, 6]], wrong)).rejects.toThrow(/has 1 tokens in row 0, but the row has 2/);
    const short = { crossAttentionMask: [[[1], [1]]] };
    await expect(model.step(cache, [[5, 6]], short)).rejects.toThrow(/has 1 states, but 2 are set for row 0/);
    expect(cache.length()).toBe(0);
    await expect(model.setCrossAttentionStates(cache, states(model, 2), 1)).rejects.toThrow(
      /row 1 is not there: the cache has 1/,
    );
    await using llama = await load(caseFolder('llama'));
    await expect(model.setCrossAttentionStates(llama.createCache(), states(model, 2))).rejects.toThrow(
      /of another model/,
    );
    await expect(llama.setCrossAttentionStates(llama.createCache(), new Float32Array(32))).rejects.toThrow(
      /no cross-attention layers/,
    );
    await expect(llama.step(llama.createCache(), [[5]], { crossAttentionMask: [[[1]]] })).rejects.toThrow(
      /leave "crossAttentionMask" out/,
    );
  });
});

describe('a cache of tokens with several positions', () => {
  it('remembers how far they went', async () => {
    await using model = await load(`${MORE_CASES}/qwen2_vl-positions`);
    const image = [
      [3, 3, 3, 3],
      [3, 3, 4, 4],
      [3, 4, 3, 4],
    ];
    const text = PROMPT.slice(7);
    const cache = model.createCache();
    await model.prefill(cache, PROMPT.slice(0, 3));
    await model.prefill(cache, PROMPT.slice(3, 7), { positions: image });
    expect([cache.length(), cache.ropePosition()]).toEqual([7, 5]);
    const fork = cache.fork();
    const expected = await all(model, cache, text);
    const stated = text.map((_, i) => 5 + i);
    expect(await all(model, fork, text)).toEqual(expected);
    cache.truncate(7);
    expect(cache.ropePosition()).toBe(5);
    const options = { logits: 'all', positions: stated } as const;
    expect(await model.prefill(cache, text, options)).toEqual(expected);
    cache.truncate(7);
    const saved = await model.restore(await model.snapshot(cache));
    expect(await all(model, saved, text)).toEqual(expected);
    const elsewhere = model.createCache();
    await model.prefill(elsewhere, PROMPT.slice(0, 7));
    expect(await all(model, elsewhere, text)).not.toEqual(expected);
  });

  it('takes a part of a chunk back with its positions', async () => {
    await using model = await load(`${MORE_CASES}/qwen2_vl-positions`);
    const cache = model.createCache();
    await model.step(cache, [PROMPT.slice(0, 4)], { positions: [[0, 1, 9, 2]] });
    expect(cache.ropePosition()).toBe(10);
    cache.truncate(2);
    expect(cache.ropePosition()).toBe(2);
  });

  it('refuses positions that do not fit', async () => {
    await using model = await load(`${MORE_CASES}/qwen2_vl-positions`);
    const step = (positions: number[] | number[][]) =>
      model.step(model.createCache(), [[5, 6]], { positions: [positions] });
    await expect(step([1])).rejects.toThrow(/row 0 is 2 long, but has 1 positions/);
    await expect(step([[1, 2]])).rejects.toThrow(/1 lists of positions, but the model has 3 streams/);
    await expect(step([1, -1])).rejects.toThrow(/position -1 of row 0 is not a whole number/);
    await using llama = await load(caseFolder('llama'));
    const plain = llama.step(llama.createCache(), [[5]], { positions: [[0]] });
    await expect(plain).rejects.toThrow(/have one position each/);
  });
});
