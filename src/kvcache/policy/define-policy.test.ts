import { describe, expect, it } from 'vitest';
import { checkCache, contentOf, expectSame, tokensFrom } from '../../../test/support/cache-runs.ts';
import { fakeStep } from '../../../test/support/fake-graph.ts';
import { FakeModel, fakeShape } from '../../../test/support/fake-model.ts';
import { InputError, PolicyError } from '../../util/errors.ts';
import { range } from '../../util/numbers.ts';
import type { KVCache } from '../kv-cache.ts';
import { type AnyCacheOptions, createCache } from '../policies.ts';
import { definePolicy, type PolicyDefinition } from './define-policy.ts';

const shape = fakeShape({ windows: [null, null], groups: 2, heads: 2, headSize: 4 });
const model = new FakeModel(shape, 5);

const open = (definition: PolicyDefinition, options: Partial<AnyCacheOptions> = {}): KVCache =>
  createCache(shape, { cacheLength: 8, ...options, policy: definePolicy(definition) });

function feed(cache: KVCache, ...chunks: number[]): void {
  for (const length of chunks) fakeStep(model, cache, [tokensFrom(0, cache.length(), length)]);
}

describe('definePolicy', () => {
  it('refuses a definition that can not work, with its name', () => {
    const score = () => undefined;
    const refused: [unknown, RegExp][] = [
      [{ name: '', score }, /a policy needs a name/],
      [{ name: 3, score }, /a policy needs a name/],
      [{ name: 'mine' }, /the policy mine needs a function score, or keep/],
      [{ name: 'mine', score: 4 }, /score of the policy mine must be a function, but is 4/],
      [{ name: 'mine', score, keep: [] }, /keep of the policy mine must be a function, but is an array/],
      [{ name: 'mine', score, slotStates: 2 }, /the policy mine has no field slotStates; did you mean slotState\?/],
      [{ name: 'mine', score, perGroup: 'no' }, /perGroup of the policy mine must be true or false, but is "no"/],
      [{ name: 'mine', score, frame: ['sink'] }, /the policy mine takes "sink" of the frame, but there are sinks, /],
      [
        { name: 'mine', score, needs: ['sum'] },
        /the policy mine needs "sum", but there are sums, chunk-sums, sampled-sums, last-query, window/,
      ],
      [{ name: 'mine', score, needs: ['window'] }, /the policy mine needs "window", so it must also state promptTail/],
    ];
    for (const [definition, message] of refused) {
      expect(() => definePolicy(definition as PolicyDefinition)).toThrow(InputError);
      expect(() => definePolicy(definition as PolicyDefinition)).toThrow(message);
    }
  });

  it('refuses what setup returns if it can not be meant', () => {
    const score = () => undefined;
    const refused: [unknown, RegExp][] = [
      [
        { score, slotStates: 2 },
        /what setup of the policy mine returns has no field slotStates; did you mean slotState/,
      ],
      [{ score, name: 'mine' }, /what setup of the policy mine returns has no field name; there are/],
      [{ keep: 3 }, /keep of what setup of the policy mine returns must be a function, but is 3/],
      [undefined, /the policy mine needs a function score, or keep/],
      [{}, /the policy mine needs a function score, or keep/],
    ];
    for (const [made, message] of refused) {
      expect(() => open({ name: 'mine', setup: () => made as object })).toThrow(InputError);
      expect(() => open({ name: 'mine', setup: () => made as object })).toThrow(message);
    }
  });

  it('gets groups and layers that refuse fields which they do not have', () => {
    type Loose = Record<string, never>;
    const refused: [PolicyDefinition['score'], RegExp][] = [
      // These returned undefined, and the newest tokens stayed.
      [(group) => (group as never as Loose)['valeus'], /there is no field valeus; did you mean values\?/],
      [(group) => (group as never as Loose)['scorse'], /there is no field scorse; did you mean scores\?/],
      [(_, layer) => ((layer as never as Loose)['phaze'] === 'prompt' ? [] : undefined), /field phaze; .* phase\?/],
      [(group) => void Object.assign(group, { socres: [1, 2] }), /there is no field socres; did you mean scores\?/],
      [(group) => (group as never as Loose)['somethingElse'], /there is no field somethingElse$/],
    ];
    for (const [score, message] of refused) {
      const cache = open({ name: 'mine', score });
      expect(() => feed(cache, 3)).toThrow(PolicyError);
      expect(() => feed(cache, 3)).toThrow(/the cache policy mine failed in score \(layer 0, row 0\)/);
      expect(() => feed(cache, 3)).toThrow(new RegExp(message.source.replace(/\$$/, ' ')));
    }
    let text = '';
    const cache = open({
      name: 'mine',
      score(group) {
        text = `${group} ${JSON.stringify({ ...group, scores: 'scores' in group, score: 'score' in group })}`;
        return undefined;
      },
    });
    feed(cache, 3);
    expect(text).toMatch(/^\[object Object\] .*"scores":true,"score":false/);
  });

  it('is not asked about a token alone that its scores take nothing from', () => {
    const called = (definition: Partial<PolicyDefinition>) => {
      const calls: number[] = [];
      const score: PolicyDefinition['score'] = (group, { newTokens }) => {
        calls.push(newTokens);
        return group.weights[0].slice(0, group.length);
      };
      const cache = open({ name: 'mine', score, perGroup: false, ...definition });
      feed(cache, 5, 1, 2, 1);
      expect(cache.tokenPositions(0)).toHaveLength(8);
      return [...new Set(calls)];
    };
    expect(called({ needs: ['chunk-sums'], scoresDecode: false, reads: false })).toEqual([5, 2]);
    expect(called({ needs: ['echo'], scoresDecode: false, reads: false })).toEqual([5, 2]);
    expect(called({ needs: ['echo'], scoresDecode: false })).toEqual([5, 1, 2]);
    expect(called({ needs: ['echo'] })).toEqual([5, 1, 2]);
    expect(called({ needs: ['echo', 'sums'], scoresDecode: false, reads: false })).toEqual([5, 1, 2]);
    const layerState = () => 1;
    const observe: PolicyDefinition['observe'] = ({ nextLayerState }) => void nextLayerState.fill(1);
    expect(called({ needs: ['echo'], scoresDecode: false, reads: false, layerState, observe })).toEqual([5, 1, 2]);
  });

  it('ranks by the values that it returns, or by its scores', () => {
    const byReturn = open({
      name: 'oldest',
      score: ({ positions, length }) => range(length).map((j) => -positions[j]),
    });
    const byScore = open({
      name: 'oldest',
      score: ({ positions, scores, length }) => {
        for (let j = 0; j < length; j++) scores[j] = 100 - positions[j];
        return undefined;
      },
    });
    for (const cache of [byReturn, byScore]) {
      feed(cache, 5, 7, 1);
      expect(cache.tokenPositions(1, 0, 1)).toEqual([0, 1, 2, 3, 4, 5, 6, 12]);
    }
    expect(byReturn.scores(0)).toEqual(range(8).map(() => 0));
    expect(byScore.scores(0)).toEqual([100, 99, 98, 97, 96, 95, 94, 88]);
  });

  it('may return the same array for every group', () => {
    const values = new Float64Array(100);
    const even = open({
      name: 'even here, odd there',
      score: ({ positions, length, index }) => {
        for (let j = 0; j < length; j++) values[j] = positions[j] % 2 === index ? 1 : 0;
        return values;
      },
    });
    feed(even, 15);
    expect(even.tokenPositions(0, 0, 0)).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
    expect(even.tokenPositions(0, 0, 1)).toEqual([1, 3, 5, 7, 9, 11, 13, 14]);
  });

  it('has values for all candidates, or says how many there are', () => {
    const cache = open({ name: 'short', score: () => [1, 2] });
    expect(() => feed(cache, 3)).toThrow(PolicyError);
    expect(() => feed(cache, 3)).toThrow(/the policy short gave 2 values for 3 candidates/);
    const late = open({ name: 'late', score: (async () => [1, 2, 3]) as never });
    expect(() => feed(late, 3)).toThrow(
      'the policy late returned a promise of scores, but must return the values at once',
    );
    const none = open({ name: 'none', score: () => null as never });
    expect(() => feed(none, 3)).toThrow('the policy none gave no values for 3 candidates');
  });

  it('sees only the window of the prompt that it asked for', () => {
    const seen: number[] = [];
    const cache = open({
      name: 'tail',
      needs: ['window', 'sums', 'last-query'],
      promptTail: 3,
      score: ({ weights, length, index }) => {
        if (index === 0) seen.push(...weights.map((w) => w.subarray(0, length).reduce((a, b) => a + b, 0)));
        return undefined;
      },
    });
    feed(cache, 5);
    // Sums over queries and the two heads of a group, of each of the two layers.
    expect(seen.map((x) => Math.round(x * 1e4) / 1e4)).toEqual([6, 10, 2, 6, 10, 2]);
  });
});

describe('a list of what to keep', () => {
  const keep = (indices: (length: number) => Iterable<number>, more: Partial<PolicyDefinition> = {}) =>
    open({ name: 'mine', keep: ({ length }) => indices(length), ...more });

  it('has sinks and recent tokens beside it, which stay unasked', () => {
    const safe = { sinks: 2, recent: 3 };
    const none = open({ name: 'none', keep: () => [] }, safe);
    const fives = open(
      { name: 'fives', keep: ({ positions, length }) => range(length).filter((j) => positions[j] % 5 === 0) },
      safe,
    );
    for (const cache of [none, fives]) feed(cache, 14);
    for (const g of [0, 1]) {
      expect(none.tokenPositions(1, 0, g)).toEqual([0, 1, 11, 12, 13]);
      expect(fives.tokenPositions(1, 0, g)).toEqual([0, 1, 5, 10, 11, 12, 13]);
    }
  });

  it('trap 1: can not freeze: the newest token stays even if it is never named', () => {
    const frozen = keep((length) => range(length).slice(0, 8));
    feed(frozen, 8, 1, 1, 1);
    for (const g of [0, 1]) expect(frozen.tokenPositions(0, 0, g)).toEqual([0, 1, 2, 3, 4, 5, 6, 10]);
  });

  it('is taken in its order where it and the safe tokens are too many together', () => {
    const backwards = open(
      { name: 'mine', keep: ({ length }) => range(length).slice(0, 8).reverse() },
      { sinks: 1, recent: 2 },
    );
    feed(backwards, 12);
    expect(backwards.tokenPositions(0)).toEqual([0, 3, 4, 5, 6, 7, 10, 11]);
  });

  it('may name a candidate twice, and those that a window hides, in vain', () => {
    const windowed = fakeShape({ windows: [6], groups: 1, heads: 1, headSize: 4 });
    const cache = createCache(windowed, {
      cacheLength: 4,
      policy: definePolicy({ name: 'mine', keep: () => [0, 1, 1, 8, 8, 9] }),
    });
    fakeStep(new FakeModel(windowed, 1), cache, [tokensFrom(0, 0, 10)]);
    expect(cache.tokenPositions(0)).toEqual([8, 9]);
  });

  it('keeps no more than the budget, or the whole chunk is refused and the cache stays as it was', () => {
    const cache = keep((length) => range(length));
    feed(cache, 5);
    const before = contentOf(cache);
    expect(() => feed(cache, 5)).toThrow(PolicyError);
    expect(() => feed(cache, 5)).toThrow(/the policy mine keeps 10 slots, but the budget is 8/);
    expectSame(contentOf(cache), before);
    feed(cache, 3);
    expect(cache.tokenPositions(0)).toEqual(range(8));
  });

  it('names candidates that there are', () => {
    for (const odd of [-1, 12, 1.5, Number.NaN]) {
      const cache = keep(() => [odd]);
      expect(() => feed(cache, 12)).toThrow(PolicyError);
      expect(() => feed(cache, 12)).toThrow(`the policy mine keeps candidate ${odd}, but there are 12`);
    }
  });

  it('has nothing that groups could share a budget by', () => {
    expect(() => open({ name: 'mine', keep: () => [] }, { ada: true })).toThrow(/the policy mine .*no scores/);
  });
});

describe('an error in a policy leaves the cache as it was', () => {
  it.each([0, 1])('in whichever layer, after it has changed scores, and the cache goes on: %s', (layer) => {
    let broken = false;
    const definition: PolicyDefinition = {
      name: 'mine',
      needs: ['sums'],
      score: ({ scores, weights: [sums], length }, view) => {
        for (let j = 0; j < length; j++) scores[j] += sums[j];
        // The scores may be the memory of the slots.
        if (broken && view.layer === layer) throw new Error('no');
        return undefined;
      },
    };
    const [cache, other] = [open(definition, { batch: 2 }), open(definition, { batch: 2 })];
    const step = (one: KVCache, a: number, b: number) =>
      fakeStep(model, one, [tokensFrom(0, one.length(0), a), tokensFrom(1, one.length(1), b)]);
    for (const one of [cache, other]) step(one, 7, 5);
    broken = true;
    expect(() => step(cache, 1, 2)).toThrow(/failed in score \(layer [01], row 0\): no \(at .*define-policy.test.ts:/);
    broken = false;
    expectSame(contentOf(cache), contentOf(other));
    for (const one of [cache, other]) step(one, 2, 4);
    expectSame(contentOf(cache), contentOf(other));
    checkCache(model, cache);
  });

  it('a score that is not a number is one, once it has to decide', () => {
    const cache = open({
      name: 'mine',
      score: ({ length, positions }) => range(length).map((j) => (positions[j] === 2 ? Number.NaN : 1)),
    });
    feed(cache, 8);
    const before = contentOf(cache);
    for (const count of [1, 9]) {
      expect(() => feed(cache, count)).toThrow(PolicyError);
      expect(() => feed(cache, count)).toThrow(/score of position 2 is not a number \(policy mine, layer 0, row 0\)/);
      expectSame(contentOf(cache), before);
    }
  });
});

describe('truncate further back than the last chunk', () => {
  it('is refused where a policy of your own keeps numbers that later tokens may have changed', () => {
    const cache = open({
      name: 'counts',
      score: ({ scores, length }) => {
        for (let j = 0; j < length; j++) scores[j]++;
        return undefined;
      },
    });
    feed(cache, 3, 1, 1);
    expect(() => cache.truncate(3)).toThrow(/the policy counts has scored what it holds by later tokens/);
    cache.truncate(4);
    expect(cache.scores(0)).toEqual([2, 2, 2, 1]);
  });
});
