import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { GraphError, InputError } from '../../util/errors.ts';
import { logSoftmaxAt, Sampler, type SamplingOptions } from './sampler.ts';

const NONE = { tokens: [], promptLength: 0 };
const logits = Float32Array.from([0.5, 2, -1, 2, 0]);

/** Log-probabilities by the book. */
function logSoftmax(values: Float32Array): number[] {
  const total = values.reduce((sum, value) => sum + Math.exp(value), 0);
  return Array.from(values, (value) => Math.log(Math.exp(value) / total));
}

function draw(options: SamplingOptions, n: number, from = logits): number[] {
  const sampler = new Sampler(options);
  return Array.from({ length: n }, () => sampler.sample(from, NONE).token);
}

function frequencies(tokens: number[], vocabSize: number): number[] {
  const counts = new Array<number>(vocabSize).fill(0);
  for (const token of tokens) counts[token]++;
  return counts.map((count) => count / tokens.length);
}

describe('greedy', () => {
  it('takes the most likely token, of equal ones the lowest id, unless told otherwise', () => {
    expect(draw({}, 3)).toEqual([1, 1, 1]);
    expect(draw({ temperature: 0, topK: 3, topP: 0.1, seed: 1 }, 3)).toEqual([1, 1, 1]);
  });

  it('heeds bias, bans, penalties and own processors', () => {
    expect(draw({ logitBias: { 2: 10 } }, 1)).toEqual([2]);
    expect(draw({ bannedTokens: [1] }, 1)).toEqual([3]);
    expect(draw({ processors: [(values) => values.fill(9, 4)] }, 1)).toEqual([4]);
    const sampler = new Sampler({ repetitionPenalty: 3 });
    expect(sampler.sample(logits, { tokens: [1, 3], promptLength: 2 }).token).toBe(1);
    expect(sampler.sample(logits, { tokens: [1], promptLength: 1 }).token).toBe(3);
  });
});

describe('drawing', () => {
  it.each([1, 0.5, 2])('draws by the probabilities at temperature %d', (temperature) => {
    const found = frequencies(draw({ temperature, seed: 11 }, 20_000), logits.length);
    const expected = logSoftmax(logits.map((value) => value / temperature)).map(Math.exp);
    for (const [token, p] of expected.entries()) expect(Math.abs(found[token] - p)).toBeLessThan(0.015);
  });

  it('never draws what was cut off', () => {
    expect(new Set(draw({ temperature: 5, topK: 2, seed: 1 }, 500))).toEqual(new Set([1, 3]));
    expect(new Set(draw({ temperature: 1, topP: 0.3, seed: 1 }, 500))).toEqual(new Set([1]));
    expect(new Set(draw({ temperature: 1, minP: 0.2, seed: 1 }, 500))).toEqual(new Set([0, 1, 3]));
    expect(new Set(draw({ temperature: 9, bannedTokens: [1, 2], seed: 1 }, 500))).toEqual(new Set([0, 3, 4]));
  });

  it('applies the temperature before the nucleus', () => {
    // At temperature 1 two tokens suffice for 0.7; at 10 all five are nearly alike and four are needed.
    expect(new Set(draw({ temperature: 10, topP: 0.7, seed: 1 }, 1000)).size).toBe(4);
    expect(new Set(draw({ temperature: 1, topP: 0.7, seed: 1 }, 1000)).size).toBe(2);
  });

  it('draws the same tokens for the same seed, and others for another', () => {
    const flat = new Float32Array(1000);
    const first = draw({ temperature: 1, seed: 5 }, 20, flat);
    expect(draw({ temperature: 1, seed: 5 }, 20, flat)).toEqual(first);
    expect(draw({ temperature: 1, seed: 6 }, 20, flat)).not.toEqual(first);
    expect(draw({ temperature: 1 }, 20, flat)).not.toEqual(draw({ temperature: 1 }, 20, flat));
  });

  it('draws once a token, whatever is reported beside it', () => {
    const flat = new Float32Array(1000);
    const sampler = new Sampler({ temperature: 1, seed: 5 });
    const tokens = Array.from({ length: 20 }, () => sampler.sample(flat, NONE, 3).token);
    expect(tokens).toEqual(draw({ temperature: 1, seed: 5 }, 20, flat));
  });

  it('bears a vocabulary that changes its size', () => {
    const sampler = new Sampler({ temperature: 1, topK: 1, seed: 1 });
    expect(sampler.sample(Float32Array.from([0, 1, 5]), NONE).token).toBe(2);
    expect(sampler.sample(Float32Array.from([7, 1]), NONE).token).toBe(0);
    expect(sampler.sample(Float32Array.from([0, 1, 5, 6, 7]), NONE).token).toBe(4);
  });
});

describe('log-probabilities', () => {
  it("are the model's own, whatever the processors do", () => {
    const expected = logSoftmax(logits);
    const sampler = new Sampler({ temperature: 0.3, bannedTokens: [1, 3], logitBias: { 4: 50 }, seed: 1 });
    const { token, logprob, top } = sampler.sample(logits, NONE, 3);
    expect(token).toBe(4);
    expect(logprob).toBeCloseTo(expected[4], 12);
    expect(top?.map((entry) => entry.token)).toEqual([1, 3, 0]);
    for (const entry of top!) expect(entry.logprob).toBeCloseTo(expected[entry.token], 12);
  });

  it('reports all tokens where more are asked for than there are, and none unless asked', () => {
    expect(new Sampler().sample(logits, NONE, 100).top).toHaveLength(5);
    expect(new Sampler().sample(logits, NONE)).not.toHaveProperty('top');
  });

  it('come to 1, however large the logits are', () => {
    fc.assert(
      fc.property(fc.float32Array({ minLength: 1, maxLength: 50, noNaN: true, noDefaultInfinity: true }), (values) => {
        const sum = Array.from(values, (_, token) => Math.exp(logSoftmaxAt(values, token))).reduce((a, b) => a + b, 0);
        expect(sum).toBeCloseTo(1, 9);
      }),
    );
    expect(logSoftmaxAt(Float32Array.from([1e30, 1e30]), 0)).toBeCloseTo(-Math.LN2, 12);
    expect(logSoftmaxAt(Float32Array.from([0, -Infinity]), 1)).toBe(-Infinity);
  });

  it('refuses tokens outside the vocabulary', () => {
    for (const token of [-1, 5, 0.5]) expect(() => logSoftmaxAt(logits, token)).toThrow(InputError);
  });
});

it("leaves the caller's logits as they are", () => {
  const own = Float32Array.from(logits);
  const options = {
    temperature: 0.7,
    topK: 2,
    topP: 0.9,
    minP: 0.1,
    repetitionPenalty: 1.2,
    bannedTokens: [0],
    seed: 1,
  };
  new Sampler(options).sample(own, { tokens: [1, 2, 3], promptLength: 1 }, 2);
  expect(own).toEqual(logits);
});

describe('what is wrong', () => {
  it.each<[SamplingOptions, string]>([
    [{ temperature: -1 }, 'temperature must be at least 0 and finite, but is -1'],
    [{ temperature: Number.NaN }, 'temperature must be at least 0 and finite, but is NaN'],
    [{ temperature: '1' as unknown as number }, 'temperature must be at least 0'],
    [{ topK: -1 }, 'topK must be a whole number of at least 0, but is -1'],
    [{ topK: 1.5 }, 'topK must be a whole number'],
    [{ topP: 0 }, 'topP must be above 0 and at most 1, but is 0'],
    [{ minP: 2 }, 'minP must be from 0 to 1, but is 2'],
    [{ repetitionPenalty: 0 }, 'repetitionPenalty must be above 0 and finite, but is 0'],
    [{ frequencyPenalty: Number.NaN }, 'frequencyPenalty must be a finite number, but is NaN'],
    [{ presencePenalty: Infinity }, 'presencePenalty must be a finite number, but is Infinity'],
    [{ seed: -5 }, 'seed must be a whole number of at least 0, but is -5'],
    [{ bannedTokens: [-1] }, 'a token id of bannedTokens must be a whole number of at least 0, but is -1'],
    [{ processors: [1 as never] }, 'processors must be functions'],
  ])('is told at once: %j', (options, message) => {
    expect(() => new Sampler(options)).toThrow(InputError);
    expect(() => new Sampler(options)).toThrow(message);
  });

  it('tells which logit is not a number', () => {
    for (const bad of [Number.NaN, Infinity]) {
      const broken = Float32Array.from([0, 1, bad]);
      expect(() => new Sampler().sample(broken, NONE)).toThrow(GraphError);
      expect(() => new Sampler().sample(broken, NONE)).toThrow(`logit of token 2 is ${bad}`);
    }
    const none = new Float32Array(3).fill(-Infinity);
    expect(() => new Sampler().sample(none, NONE)).toThrow("none of the model's 3 logits is above -Infinity");
  });

  it('tells what the options or processors did', () => {
    const sample = (options: SamplingOptions) => () => new Sampler({ temperature: 1, ...options }).sample(logits, NONE);
    expect(sample({ bannedTokens: [0, 1, 2, 3, 4] })).toThrow('no token is left to choose');
    expect(sample({ processors: [(values) => values.fill(Number.NaN, 2, 3)] })).toThrow(/processor .* token 2 NaN/);
    expect(sample({ topK: 1, processors: [(values) => values.fill(Number.NaN, 2, 3)] })).toThrow(/token 2 NaN/);
    expect(sample({ processors: [async () => {}] })).toThrow(/a logits processor returned a promise/);
    expect(sample({ processors: [() => Promise.reject(new Error('late'))] })).toThrow(/returned a promise/);
    expect(sample({ temperature: 0, logitBias: { 1: 1e39 } })).toThrow(/token 1 infinite/);
    expect(sample({ bannedTokens: [5] })).toThrow('bannedTokens names token 5');
    expect(() => new Sampler().sample(logits, NONE, -1)).toThrow('topLogprobs');
  });
});

describe('a processor with a state', () => {
  it('has one for each sequence, and is told every token that was chosen', () => {
    const told: number[][] = [];
    const processor = {
      create: () => {
        const mine: number[] = [];
        told.push(mine);
        return {
          // No token twice.
          process: (logits: Float32Array) => {
            for (const token of mine) logits[token] = Number.NEGATIVE_INFINITY;
          },
          accept: (token: number) => {
            mine.push(token);
          },
        };
      },
    };
    const context = { tokens: [], promptLength: 0 };
    const logits = Float32Array.of(1, 3, 2, 0);
    const [a, b] = [new Sampler({ processors: [processor] }), new Sampler({ processors: [processor] })];
    const write = (sampler: Sampler, count: number) =>
      Array.from({ length: count }, () => sampler.sample(logits, context).token);
    expect([write(a, 2), write(b, 3), write(a, 2)]).toEqual([
      [1, 2],
      [1, 2, 0],
      [0, 3],
    ]);
    expect(told).toEqual([
      [1, 2, 0, 3],
      [1, 2, 0],
    ]);
    expect(() => new Sampler({ processors: [{} as never] })).toThrow(
      /processors must be functions, or objects with create/,
    );
  });
});
