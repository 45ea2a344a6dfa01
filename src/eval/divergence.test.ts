import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../engine/language-model.ts';
import { definePolicy } from '../kvcache/policy/define-policy.ts';
import { loadModel } from '../load/load-model-node.ts';
import { meanInterval } from './bootstrap.ts';
import { compare } from './compare.ts';
import { comparisonCells, comparisonMarkdown } from './compare-table.ts';
import { divergence, divergenceOf } from './divergence.ts';
import { perplexity } from './perplexity.ts';

const text = await readFile(join(import.meta.dirname, '../../models/tiny/validation.txt'), 'utf8');
const window = { windowLength: 200, windows: 1, chunkLength: 32 };

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel('keyhold/tiny', { threads: 1 });
});
afterAll(() => model.dispose());

describe('divergenceOf', () => {
  it('is KL(p ‖ q) of the softmax', () => {
    const [p, q] = [Float32Array.of(Math.log(0.5), Math.log(0.25), Math.log(0.25)), Float32Array.of(0, 0, Math.log(2))];
    const expected = 0.5 * Math.log(0.5 / 0.25) + 0.25 * Math.log(0.25 / 0.25) + 0.25 * Math.log(0.25 / 0.5);
    expect(divergenceOf(p, q)).toBeCloseTo(expected, 6);
    // Another constant in front changes nothing.
    const shifted = p.map((x) => x + 30);
    expect(divergenceOf(shifted, q)).toBeCloseTo(expected, 5);
    expect(divergenceOf(p, p)).toBe(0);
  });
});

describe('divergence', () => {
  it('is nothing for a cache that holds all, and grows as the cache gets smaller', async () => {
    const of = (cacheLength: number, policy = 'lastrec') =>
      divergence(model, text, { ...window, cache: { policy, cacheLength } });
    const whole = await of(200);
    expect(whole.divergence).toBeLessThan(1e-6);
    expect(whole.sameTop).toBe(1);
    const [half, small] = [await of(100), await of(20)];
    expect(half.divergence).toBeGreaterThan(whole.divergence);
    expect(small.divergence).toBeGreaterThan(2 * half.divergence);
    // Nothing has been evicted in the first eighth of a window of 200 by a cache of 100.
    expect(half.byPart[0]).toBeLessThan(1e-6);
    expect(half.byPart).toHaveLength(8);
    const [low, high] = half.interval!;
    expect(low).toBeLessThanOrEqual(half.divergence);
    expect(high).toBeGreaterThanOrEqual(half.divergence);
    const plain = await perplexity(model, text, { ...window, cache: { policy: 'lastrec', cacheLength: 20 } });
    expect(small.perplexity).toBeCloseTo(plain.perplexity, 3);
  });

  it('compares policies that want other chunks than a dense cache', async () => {
    const result = await divergence(model, text, {
      ...window,
      cache: { policy: 'snapkv', cacheLength: 64, window: 20 },
    });
    expect(result.tokens).toBe(200);
    expect(result.divergence).toBeGreaterThan(0);
  });
});

describe('meanInterval', () => {
  it('holds the mean of samples of a known mean in most cases', () => {
    let inside = 0;
    for (let run = 0; run < 200; run++) {
      // A linear congruential generator, to be independent of the one that draws.
      let state = run * 7919 + 1;
      const values = Array.from({ length: 40 }, () => {
        state = (state * 1103515245 + 12345) % 2147483648;
        return state / 2147483648;
      });
      const [low, high] = meanInterval(values)!;
      expect(low).toBeLessThan(high);
      if (low <= 0.5 && high >= 0.5) inside++;
    }
    expect(inside).toBeGreaterThan(170);
  });

  it('is none of fewer than five values', () => {
    for (const few of [[], [3], [0, 1], [1, 1, 1, 1]]) expect(meanInterval(few)).toBeNull();
    expect(meanInterval([1, 1, 1, 1, 1])).toEqual([1, 1]);
  });
});

describe('compare at equal bytes', () => {
  it('keeps within the bytes, names what can not, and marks rows that are the same', async () => {
    const rows = await compare(model, {
      contestants: [
        { name: 'lastrec', policy: 'lastrec' },
        { name: 'twin', policy: 'lastrec' },
        { name: 'leverage', policy: 'leverage' },
      ],
      budgets: [0.2],
      unit: 'bytes',
      text,
      divergence: true,
      windowLength: 256,
      windows: 1,
    });
    const [dense, lastrec, twin, leverage] = rows;
    expect(dense.divergence).toBeLessThan(1e-9);
    expect(lastrec.divergence).toBeGreaterThan(0);
    // A dense cache in float16: 6 layers, 2 groups, 32 numbers of 2 bytes in keys and in values.
    expect(lastrec.totalBytes).toBeLessThanOrEqual(0.2 * 256 * 6 * 2 * 2 * 32 * 2);
    expect(lastrec.sameAs).toBeUndefined();
    expect(twin.sameAs).toBe('lastrec');
    expect(leverage.refused).toMatch(/smallest leverage cache of this model takes/);
    const [titles, ...cells] = comparisonCells(rows);
    expect(cells[2][titles.indexOf('note')]).toBe('the same as lastrec');
    expect(cells[3][titles.indexOf('perplexity')]).toBe('-');
    const markdown = comparisonMarkdown(rows);
    expect(markdown.split('\n').filter((line) => line.startsWith('|'))).toHaveLength(2 + rows.length);
    expect(markdown).toContain('20 % of bytes');
    expect(markdown).toContain('Measured on 1 window of text');
  });

  it('goes on after a policy that failed, and says why', async () => {
    const wrong = definePolicy({ name: 'wrong', score: () => [Number.NaN] });
    const contestants = [
      { name: 'wrong', policy: wrong },
      { name: 'lastrec', policy: 'lastrec' },
    ];
    const rows = await compare(model, { contestants, budgets: [0.5], text, ...window });
    expect(rows.map(({ policy, refused }) => [policy, refused])).toEqual([
      ['dense', undefined],
      ['wrong', expect.stringMatching(/^the policy wrong gave 1 values for 32 candidates/)],
      ['lastrec', undefined],
    ]);
  });
});
