import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../util/errors.ts';
import type { LogitsFunction } from './logits.ts';
import * as processors from './logits.ts';
import { mostLikely } from './token-ranking.ts';

const NONE = { tokens: [], promptLength: 0 };

function run(process: LogitsFunction, logits: ArrayLike<number>, tokens: number[] = [], promptLength = 0): number[] {
  const changed = Float32Array.from(logits);
  process(changed, { tokens, promptLength });
  return [...changed];
}

/** Ids from the most likely on, ties by id, without those that are out. */
const ranked = (logits: ArrayLike<number>): number[] =>
  Array.from(logits, (_, id) => id)
    .filter((id) => logits[id] > -Infinity)
    .sort((a, b) => logits[b] - logits[a] || a - b);

const kept = (logits: number[]): number[] => logits.flatMap((logit, id) => (logit > -Infinity ? [id] : []));
const ascending = (ids: number[]) => [...ids].sort((a, b) => a - b);

/** Logits with many ties and some tokens out already; at least one is in. */
const someLogits = fc
  .array(
    fc.oneof(fc.integer({ min: -4, max: 4 }), fc.float({ min: -20, max: 20, noNaN: true }), fc.constant(-Infinity)),
    {
      minLength: 1,
      maxLength: 200,
    },
  )
  .filter((logits) => logits.some((logit) => logit > -Infinity))
  .map((logits) => Float32Array.from(logits));

describe('topK', () => {
  it('keeps the k that sorting would put first', () => {
    fc.assert(
      fc.property(someLogits, fc.integer({ min: 1, max: 220 }), (logits, k) => {
        expect(kept(run(processors.topK(k), logits))).toEqual(ascending(ranked(logits).slice(0, k)));
      }),
      { numRuns: 500 },
    );
  });

  it('leaves the logits of those it keeps as they are', () => {
    expect(run(processors.topK(2), [1, 3, 2, 3])).toEqual([-Infinity, 3, -Infinity, 3]);
  });

  it('works again on another vocabulary with the same memory', () => {
    const process = processors.topK(1);
    expect(kept(run(process, [1, 2, 3, 4, 5]))).toEqual([4]);
    expect(kept(run(process, [9, 2]))).toEqual([0]);
    expect(kept(run(process, new Float32Array(1000)))).toEqual([0]);
  });

  it('copes with orders that are bad for pivots', () => {
    const n = 4096;
    const orders = {
      rising: (i: number) => i,
      falling: (i: number) => -i,
      equal: () => 0,
      pipes: (i: number) => Math.min(i, n - i),
      saw: (i: number) => i % 7,
    };
    for (const value of Object.values(orders)) {
      const logits = Float32Array.from({ length: n }, (_, i) => value(i));
      expect(kept(run(processors.topK(100), logits))).toEqual(ascending(ranked(logits).slice(0, 100)));
    }
  });
});

describe('topP', () => {
  /** How many of the ranked tokens are needed, by adding up; null where rounding decides. */
  function nucleus(logits: Float32Array, p: number): number | null {
    const ranking = ranked(logits);
    const max = logits[ranking[0]];
    const weights = ranking.map((id) => Math.exp(logits[id] - max));
    const target = p * weights.reduce((a, b) => a + b, 0);
    let sum = 0;
    for (let n = 1; n <= weights.length; n++) {
      sum += weights[n - 1];
      if (Math.abs(sum - target) < 1e-12 * target) return null;
      if (sum >= target) return n;
    }
    return weights.length;
  }

  it('keeps the fewest whose probabilities come to p', () => {
    fc.assert(
      fc.property(someLogits, fc.double({ min: 0.001, max: 0.999, noNaN: true }), (logits, p) => {
        const n = nucleus(logits, p);
        fc.pre(n !== null);
        expect(kept(run(processors.topP(p), logits))).toEqual(ascending(ranked(logits).slice(0, n!)));
      }),
      { numRuns: 500 },
    );
  });

  it('keeps one token at the least and all at 1', () => {
    expect(kept(run(processors.topP(1e-9), [0, 0, 0]))).toEqual([0]);
    expect(kept(run(processors.topP(1), [0, -50, -100]))).toEqual([0, 1, 2]);
  });

  it('takes probabilities from what is left', () => {
    const halves = [0, 0, -Infinity, 0, 0];
    expect(kept(run(processors.topP(0.5), halves))).toEqual([0, 1]);
  });
});

describe('minP', () => {
  it('keeps those at least p times as likely as the best', () => {
    fc.assert(
      fc.property(someLogits, fc.double({ min: 0, max: 1, noNaN: true }), (logits, p) => {
        const best = Math.max(...logits);
        const expected = ranked(logits).filter((id) => logits[id] >= best + Math.log(p));
        expect(kept(run(processors.minP(p), logits))).toEqual(ascending(expected));
      }),
    );
    expect(kept(run(processors.minP(0.5), [Math.log(4), Math.log(2.001), Math.log(1.999)]))).toEqual([0, 1]);
    expect(kept(run(processors.minP(1), [1, 3, 3]))).toEqual([1, 2]);
  });
});

describe('temperature', () => {
  it('divides, and keeps differences finite however small it is', () => {
    const [a, b, c] = run(processors.temperature(0.5), [1, 2, -3]);
    expect([a - b, c - b]).toEqual([-2, -10]);
    expect(run(processors.temperature(1e-300), [1, 2, -3])).toEqual([-Infinity, 0, -Infinity]);
    expect(run(processors.temperature(2), [-Infinity, -Infinity])).toEqual([-Infinity, -Infinity]);
  });
});

describe('penalties', () => {
  it('repetition divides positive and multiplies negative logits, each token once', () => {
    expect(run(processors.repetitionPenalty(2), [4, -4, 4, 0], [0, 1, 0, 3, 1], 2)).toEqual([2, -8, 4, 0]);
  });

  it('repetition leaves a token that is out where it is', () => {
    expect(run(processors.repetitionPenalty(2), [-Infinity, 1], [0])).toEqual([-Infinity, 1]);
  });

  it('frequency and presence count written tokens only', () => {
    const tokens = [0, 0, 1, 2, 1];
    expect(run(processors.frequencyPenalty(0.5), [1, 1, 1], tokens, 2)).toEqual([1, 0, 0.5]);
    expect(run(processors.presencePenalty(0.5), [1, 1, 1], tokens, 2)).toEqual([1, 0.5, 0.5]);
    expect(run(processors.frequencyPenalty(-1), [1, 1, 1], tokens, 2)).toEqual([1, 3, 2]);
  });

  it('count anew at every step', () => {
    const process = processors.frequencyPenalty(1);
    for (let i = 0; i < 3; i++) expect(run(process, [0, 0], [1, 1])).toEqual([0, -2]);
  });

  it('pass over tokens beyond the logits', () => {
    expect(run(processors.frequencyPenalty(1), [0, 0], [5, 1])).toEqual([0, -1]);
  });
});

describe('logitBias and bannedTokens', () => {
  it('take maps and records', () => {
    expect(run(processors.logitBias({ 1: 2, 2: -Infinity }), [1, 1, 1])).toEqual([1, 3, -Infinity]);
    expect(run(processors.logitBias(new Map([[0, -1]])), [1, 1])).toEqual([0, 1]);
    expect(run(processors.bannedTokens([0, 2]), [1, 1, 1])).toEqual([-Infinity, 1, -Infinity]);
  });

  it('name what is wrong', () => {
    expect(() => processors.logitBias({ 3: Number.NaN })).toThrow(
      'logitBias of token 3 must be a finite number or -Infinity, but is NaN',
    );
    expect(() => processors.logitBias({ 3: Infinity })).toThrow(InputError);
    expect(() => processors.logitBias({ x: 1 } as Record<number, number>)).toThrow(/a token id of logitBias/);
    expect(() => processors.logitBias({ '-1': 1 } as Record<number, number>)).toThrow(InputError);
    expect(() => processors.bannedTokens([1.5])).toThrow(/a token id of bannedTokens must be a whole number/);
    expect(() => run(processors.bannedTokens([3]), [1, 1, 1])).toThrow(
      'bannedTokens names token 3, but the vocabulary has ids 0 to 2',
    );
    expect(() => run(processors.logitBias({ 7: 1 }), [1])).toThrow(InputError);
  });
});

describe('mostLikely', () => {
  it('is the beginning of the sorted vocabulary', () => {
    fc.assert(
      fc.property(someLogits, fc.integer({ min: 0, max: 210 }), (logits, n) => {
        expect(mostLikely(logits, n)).toEqual(ranked(logits).slice(0, n));
      }),
    );
  });
});

describe('ranges', () => {
  it.each<[string, () => LogitsFunction]>([
    ['temperature must be above 0 and finite, but is 0', () => processors.temperature(0)],
    ['temperature must be above 0 and finite, but is Infinity', () => processors.temperature(Infinity)],
    ['topK must be a whole number of at least 1, but is 0', () => processors.topK(0)],
    ['topP must be above 0 and at most 1, but is 0', () => processors.topP(0)],
    ['topP must be above 0 and at most 1, but is 1.1', () => processors.topP(1.1)],
    ['minP must be from 0 to 1, but is -0.1', () => processors.minP(-0.1)],
    ['repetitionPenalty must be above 0 and finite, but is NaN', () => processors.repetitionPenalty(Number.NaN)],
    ['frequencyPenalty must be a finite number, but is Infinity', () => processors.frequencyPenalty(Infinity)],
    ['presencePenalty must be a finite number, but is NaN', () => processors.presencePenalty(Number.NaN)],
    ['topP must be above 0 and at most 1, but is 0.5', () => processors.topP('0.5' as unknown as number)],
  ])('%s', (message, make) => {
    expect(make).toThrow(InputError);
    expect(make).toThrow(message);
  });
});

it('processors bear an empty context and a vocabulary of which nothing is left', () => {
  const gone = new Float32Array([-Infinity, -Infinity]);
  for (const process of [processors.topK(1), processors.topP(0.5), processors.minP(0.1), processors.temperature(1)]) {
    process(gone, NONE);
    expect([...gone]).toEqual([-Infinity, -Infinity]);
  }
});
