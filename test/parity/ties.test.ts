import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createCache } from '../../src/kvcache/policies.ts';
import { range } from '../../src/util/numbers.ts';
import { tokensFrom } from '../support/cache-runs.ts';
import { fakeStep } from '../support/fake-graph.ts';
import { FakeModel, fakeShape } from '../support/fake-model.ts';
import { tempFolder } from '../support/temp-folder.ts';
import { policyCase } from './policy-case.ts';
import { resolutions, type Tie, type TieBreaker, tieAware, youngest } from './ties.ts';
import { runCase } from './walk.ts';

const FIXTURES = join(import.meta.dirname, '../fixtures');
const folder = await tempFolder('ties');
const context = { cacheDir: join(folder, 'cache'), models: [join(FIXTURES, 'families')] };

interface KnormCase {
  nll: number[];
  kept: number[][][];
  score: number[][][];
}

/** Runs the case of the llama fixture, changed. */
async function reportOf(name: string, change: (golden: KnormCase) => void) {
  const golden = JSON.parse(await readFile(join(FIXTURES, 'policies/llama-knorm.json'), 'utf8'));
  change(golden);
  const path = join(folder, `${name}.json`);
  await writeFile(path, JSON.stringify(golden));
  return runCase({ kind: policyCase, path, name }, context);
}

describe('a knorm case', () => {
  it('passes where a choice among equal keys gives all that the reference gave, and says how many there were', async () => {
    const report = await reportOf('whole', () => undefined);
    expect(report).toMatchObject({ passed: true, message: '96 tokens in 39 chunks, 5 ties resolved' });
    expect(report.error).toBeLessThan(1e-4);
  });

  it.each([5, 60, 90])('fails where no choice gives a loss: token %s', async (token) => {
    const report = await reportOf(`loss-${token}`, ({ nll }) => {
      nll[token] += 2e-3;
    });
    expect(report).toMatchObject({
      passed: false,
      message: expect.stringMatching(/^a token's loss differs by (2\.0|1\.9)\de-3$/),
    });
  });

  it('fails where no choice gives the positions, or the scores', async () => {
    const positions = await reportOf('positions', ({ kept }) => {
      kept[1][0][2] += 1;
    });
    expect(positions).toMatchObject({ passed: false, message: expect.stringMatching(/^layer 1, group 0 holds \[/) });
    const scores = await reportOf('scores', ({ score }) => {
      score[0][1][3] *= 1.01;
    });
    expect(scores).toMatchObject({
      passed: false,
      message: expect.stringMatching(/^layer 0, group 1: a score differs by 9\.\d\de-3/),
    });
  });
});

describe('the cache that asks', () => {
  const shape = fakeShape({ windows: [null], groups: 1, heads: 1, headSize: 4 });
  const open = (constant: boolean) => {
    const breaker: TieBreaker = { choose: youngest, ties: [] };
    const policy = tieAware('knorm', breaker)!;
    return {
      breaker,
      cache: createCache(shape, { policy, cacheLength: 5, sinks: 1, recent: 1 }),
      model: new FakeModel(shape, 1, { keys: constant ? 'constant' : 'random' }),
    };
  };

  it('does what knorm does where nothing is equal', () => {
    const { breaker, cache, model } = open(false);
    const knorm = createCache(shape, { policy: 'knorm', cacheLength: 5, sinks: 1, recent: 1 });
    for (const count of [4, 9, 1, 1, 20]) {
      for (const one of [cache, knorm]) fakeStep(model, one, [tokensFrom(0, one.length(), count)]);
      expect(cache.tokenPositions(0)).toEqual(knorm.tokenPositions(0));
    }
    expect(breaker.ties).toEqual([]);
  });

  it('asks who stays of equals, and obeys', () => {
    const { breaker, cache, model } = open(true);
    const asked: Tie[] = [];
    breaker.choose = (tie) => {
      asked.push(tie);
      return [2, 4, 6];
    };
    fakeStep(model, cache, [tokensFrom(0, 0, 9)]);
    expect(asked).toEqual([{ layer: 0, group: 0, positions: [1, 2, 3, 4, 5, 6, 7], stay: 3 }]);
    expect(cache.tokenPositions(0)).toEqual([0, 2, 4, 6, 8]);
  });

  it('keeps the youngest unless others are preferred', () => {
    const tie = { layer: 0, group: 0, positions: [1, 2, 3, 4], stay: 2 };
    expect(youngest(tie)).toEqual([4, 3]);
    expect(youngest(tie, new Set([1, 9]))).toEqual([1, 4]);
  });
});

describe('resolutions', () => {
  it('are all ways to choose, as long as they are few', () => {
    const tie = (positions: number[], stay: number): Tie => ({ layer: 0, group: 0, positions, stay });
    expect(resolutions([], 10)).toEqual([[]]);
    expect(resolutions([tie([1, 2, 3], 2)], 10)).toEqual([[[2, 3]], [[1, 3]], [[1, 2]]]);
    expect(resolutions([tie([1, 2], 1), tie([5, 6, 7], 1)], 10)).toHaveLength(6);
    const many = resolutions([tie(range(40), 20), tie(range(40), 20)], 64);
    expect(many).toHaveLength(64);
    expect(new Set(many.map((way) => JSON.stringify(way))).size).toBe(64);
  });
});
