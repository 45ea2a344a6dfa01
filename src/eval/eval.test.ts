import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { LanguageModel } from '../engine/language-model.ts';
import { h2o } from '../kvcache/policy-functions.ts';
import { loadModel } from '../load/load-model-node.ts';
import { compare } from './compare.ts';
import { perplexity } from './perplexity.ts';
import { parseRecallCases, recall } from './recall.ts';

const TINY = join(import.meta.dirname, '../../models/tiny');
const text = await readFile(join(TINY, 'validation.txt'), 'utf8');
const cases = parseRecallCases(await readFile(join(TINY, 'recall.jsonl'), 'utf8'))
  .filter(({ length }) => length === 256)
  .slice(0, 3);

let model: LanguageModel;
beforeAll(async () => {
  model = await loadModel('keyhold/tiny', { threads: 1 });
});
afterAll(() => model.dispose());

describe('perplexity', () => {
  it.each(['dense', 'snapkv', 'lastrec'])('is what score gives, with %s', async (policy) => {
    const cache = { policy, cacheLength: policy === 'dense' ? 200 : 64 };
    const result = await perplexity(model, text, { cache, windowLength: 200, windows: 1, chunkLength: 32 });
    const ids = [...model.tokenizer.encode(''), ...model.tokenizer.encode(text, { addSpecialTokens: false })];
    const score = await model.score(ids.slice(0, 200), { cache, chunkLength: 32 });
    expect(result.perplexity).toBeCloseTo(score.perplexity, 3);
    expect(result).toMatchObject({ tokens: 199, windows: 1 });
    expect(result.msPerToken).toBeGreaterThan(0);
  });
});

describe('compare', () => {
  it('measures a dense cache, then each policy under each budget', async () => {
    const rows = await compare(model, {
      contestants: [{ name: 'keydiff', policy: 'keydiff' }],
      budgets: [0.1, 0.5],
      text,
      windowLength: 128,
      windows: 1,
      cases,
    });
    expect(rows.map(({ policy, budget }) => [policy, budget])).toEqual([
      ['dense', 1],
      ['keydiff', 0.1],
      ['keydiff', 0.5],
    ]);
    for (const row of rows) expect(row).toMatchObject({ windows: 1, cases: 3 });
    const alone = await recall(model, cases, { cache: { policy: 'dense' }, question: 'after' });
    expect(rows[0].recall.after).toBe(alone.recall);
    expect(rows[1].perplexity!).toBeGreaterThan(rows[0].perplexity!);
    expect(rows[1].cacheBytes).toBeLessThan(rows[0].cacheBytes);
  });

  it('takes a part of a text that is shorter than a window, and policies with options of their own', async () => {
    const [, row] = await compare(model, {
      contestants: [{ name: 'h2o', policy: h2o({ recent: 4 }) }],
      budgets: [0.25],
      text: text.slice(0, 800),
      chunkLength: 16,
    });
    const { length } = model.tokenizer.encode(text.slice(0, 800));
    const cache = { policy: 'h2o', recent: 4, cacheLength: Math.round(length / 4) };
    const alone = await perplexity(model, text.slice(0, 800), { cache, chunkLength: 16 });
    expect(row.perplexity).toBe(alone.perplexity);
    expect(row.cacheBytes).toBe(alone.cacheBytes);
  });
});

describe('recall', () => {
  it('tells the kinds apart that cases name', async () => {
    const lines = cases.map((item, i) => JSON.stringify({ ...item, ...(i > 0 && { kind: `kind ${i}` }) }));
    const told: number[][] = [];
    const onProgress = (...state: number[]) => told.push(state);
    const result = await recall(model, parseRecallCases(lines.join('\n')), { onProgress });
    expect(told.map(([done]) => done)).toEqual([1, 2, 3]);
    expect(told.at(-1)).toEqual([3, 3, result.right]);
    expect(Object.keys(result.byKind)).toEqual(['kind 1', 'kind 2']);
    const first = await recall(model, cases.slice(0, 1));
    expect(result.byKind['kind 1'] + result.byKind['kind 2'] + first.right).toBe(result.right);
    expect(first.byKind).toEqual({});
  });
});
