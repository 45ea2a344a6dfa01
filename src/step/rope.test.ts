import fc from 'fast-check';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { lowerToOnnx } from '../backends/onnx/lower/lower.ts';
import { onnxTarget } from '../backends/onnx/target.ts';
import type { RopeSpec } from '../config/config.ts';
import { readConfig } from '../families/read-config.ts';
import { rotate } from '../ops/attention.ts';
import { OpGraph } from '../ops/graph.ts';
import { RopeTable, ropeFrequencies, ropePairs, ropeVariant } from './rope.ts';

const plain = (nElem: number, interleave = false, base = 10_000): RopeSpec => ({
  base,
  nElem,
  interleave,
  scaling: { type: 'none' },
});

const LLAMA = {
  model_type: 'llama',
  hidden_size: 32,
  num_hidden_layers: 1,
  num_attention_heads: 4,
  vocab_size: 8,
  intermediate_size: 8,
};

/** Runs the model's own rotation on heads of `headSize`, one vector per position. */
async function rotator(headSize: number, rope: RopeSpec) {
  const g = new OpGraph(onnxTarget);
  const table = new RopeTable(rope);
  const x = g.input('x', 'float32', [1, 1, 'T', headSize]);
  const cos = g.input('cos', 'float32', ['N', table.pairs]);
  const sin = g.input('sin', 'float32', ['N', table.pairs]);
  const index = g.input('index', 'int64', [1, 'T']);
  g.output(rotate(g, x, { cos, sin, index, interleave: rope.interleave, scaled: true }), 'y');
  const session = await InferenceSession.create(
    lowerToOnnx(g).serialize({ params: new Map(), file: { folder: '', name: '' }, size: 0 }),
    { logSeverityLevel: 3 },
  );
  return async (
    vectors: readonly Float32Array[],
    positions: readonly (number | readonly number[])[],
  ): Promise<Float32Array[]> => {
    const n = vectors.length;
    const flat = new Float32Array(n * headSize);
    vectors.forEach((v, i) => {
      flat.set(v, i * headSize);
    });
    const [c, s] = [new Float32Array(n * table.pairs), new Float32Array(n * table.pairs)];
    positions.forEach((p, i) => {
      table.write(c, s, i * table.pairs, p, 1);
    });
    const { y } = await session.run({
      x: new Tensor('float32', flat, [1, 1, n, headSize]),
      cos: new Tensor('float32', c, [n, table.pairs]),
      sin: new Tensor('float32', s, [n, table.pairs]),
      index: new Tensor(
        'int64',
        BigInt64Array.from({ length: n }, (_, i) => BigInt(i)),
        [1, n],
      ),
    });
    return vectors.map((_, i) => (y.data as Float32Array).slice(i * headSize, (i + 1) * headSize));
  };
}

const dot = (a: Float32Array, b: Float32Array) => a.reduce((sum, x, i) => sum + x * b[i], 0);

describe('rotary widths', () => {
  const cases = [
    { headSize: 4, fraction: 0.75, n: 3, pairs: 2, inverse: [1, 0.0021544] },
    { headSize: 85, fraction: 0.25, n: 21, pairs: 11 },
    { headSize: 4, fraction: 0.25, n: 1, pairs: 1, inverse: [1] },
    { headSize: 80, fraction: 0.4, n: 32, pairs: 16 },
    { headSize: 100, fraction: 0.29, n: 28, pairs: 14 },
    { headSize: 128, fraction: 1, n: 128, pairs: 64 },
  ];
  it.each(cases)('$headSize of $fraction', ({ headSize, fraction, n, pairs, inverse }) => {
    const { config } = readConfig({
      ...LLAMA,
      model_type: 'gpt_neox',
      hidden_size: headSize * 4,
      rotary_pct: fraction,
    });
    expect(config.ropes[0].nElem).toBe(n);
    const made = ropeFrequencies(config.ropes[0], 1).inverse;
    expect(made).toHaveLength(pairs);
    inverse?.forEach((value, i) => {
      expect(made[i]).toBeCloseTo(value, 6);
    });
    expect(made[pairs - 1]).toBeCloseTo(10_000 ** ((-2 * (pairs - 1)) / n), 6);
  });

  it('refuses an odd head that is to rotate whole', () => {
    expect(() => readConfig({ ...LLAMA, hidden_size: 20 })).toThrow(
      /rotate in pairs and so need 6 dimensions.*head has 5/,
    );
  });
});

describe('rotation', () => {
  it('keeps norms, depends on distance only, starts at the identity, adds up, and leaves the rest alone', async () => {
    const shapes = fc
      .record({ headSize: fc.integer({ min: 2, max: 96 }), part: fc.double({ min: 0.02, max: 1, noNaN: true }) })
      .map(({ headSize, part }) => ({ headSize, n: Math.max(1, Math.trunc(headSize * part)) }))
      .filter(({ headSize, n }) => 2 * Math.ceil(n / 2) <= headSize);
    const vector = (seed: number, size: number) =>
      Float32Array.from({ length: size }, (_, i) => Math.sin(seed * 12.9898 + i * 78.233) * 2);
    await fc.assert(
      fc.asyncProperty(
        shapes,
        fc.boolean(),
        fc.integer({ min: 0, max: 500 }),
        fc.integer({ min: 0, max: 500 }),
        fc.integer({ min: 0, max: 1000 }),
        async ({ headSize, n }, interleave, a, b, shift) => {
          const run = await rotator(headSize, plain(n, interleave, 100));
          const [q, k] = [vector(1 + a, headSize), vector(2 + b, headSize)];
          const [q0, qa, kb, qas, kbs] = await run([q, q, k, q, k], [0, a, b, a + shift, b + shift]);
          const size = Math.sqrt(dot(q, q) * dot(k, k));
          expect([...q0]).toEqual([...q]);
          expect(dot(qa, qa)).toBeCloseTo(dot(q, q), 2);
          expect(Math.abs(dot(qa, kb) - dot(qas, kbs))).toBeLessThan(1e-3 * size);
          const [twice] = await run([qa], [b]);
          const [once] = await run([q], [a + b]);
          twice.forEach((value, i) => {
            expect(value).toBeCloseTo(once[i], 2);
          });
          const rotated = 2 * Math.ceil(n / 2);
          expect([...qa.subarray(rotated)]).toEqual([...q.subarray(rotated)]);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('pairs (i, i + pairs), or (2i, 2i + 1) where interleaved', async () => {
    const unit = (i: number) => Float32Array.from({ length: 6 }, (_, j) => (i === j ? 1 : 0));
    const [half] = await (await rotator(6, plain(3)))([unit(0)], [1]);
    expect([...half].map((x) => Math.abs(x) > 1e-3)).toEqual([true, false, true, false, false, false]);
    const [pairs] = await (await rotator(6, plain(3, true)))([unit(0)], [1]);
    expect([...pairs].map((x) => Math.abs(x) > 1e-3)).toEqual([true, true, false, false, false, false]);
  });
});

describe('rotation by several positions', () => {
  const sectionsOf = fc.array(fc.integer({ min: 1, max: 6 }), { minLength: 2, maxLength: 4 });
  const place = fc.integer({ min: 0, max: 300 });
  const vector = (seed: number, size: number) =>
    Float32Array.from({ length: size }, (_, i) => Math.sin(seed * 12.9898 + i * 78.233) * 2);
  const several = (sections: readonly number[], alternate: boolean): RopeSpec => ({
    ...plain(2 * sections.reduce((a, b) => a + b, 0), false, 100),
    sections,
    alternate,
  });

  it('keeps norms, depends on the distance in each of them only, and starts at the identity', async () => {
    await fc.assert(
      fc.asyncProperty(
        sectionsOf,
        fc.boolean(),
        fc.array(fc.tuple(place, place, place), { minLength: 4, maxLength: 4 }),
        async (counts, even, streams) => {
          // Dealing by turns needs sections of one size, give or take the last pair.
          const sections = even ? counts.map(() => counts[0]) : counts;
          const headSize = 2 * sections.reduce((a, b) => a + b, 0) + 3;
          const run = await rotator(headSize, several(sections, even));
          const [q, k] = [vector(streams[0][0], headSize), vector(streams[0][1], headSize)];
          const at = (nth: 0 | 1, shift: 0 | 1) =>
            sections.map((_, s) => streams[s % 4][nth] + shift * streams[(s + 1) % 4][2]);
          const [q0, qa, kb, qas, kbs] = await run(
            [q, q, k, q, k],
            [sections.map(() => 0), at(0, 0), at(1, 0), at(0, 1), at(1, 1)],
          );
          expect([...q0]).toEqual([...q]);
          expect(dot(qa, qa)).toBeCloseTo(dot(q, q), 2);
          expect(Math.abs(dot(qa, kb) - dot(qas, kbs))).toBeLessThan(1e-3 * Math.sqrt(dot(q, q) * dot(k, k)));
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is that by one position where all are the same and frequencies stay in order', async () => {
    await fc.assert(
      fc.asyncProperty(sectionsOf, place, async (sections, at) => {
        const headSize = 2 * sections.reduce((a, b) => a + b, 0);
        const x = vector(at, headSize);
        const [one] = await (await rotator(headSize, plain(headSize, false, 100)))([x], [at]);
        const all = sections.map(() => at);
        const [many] = await (await rotator(headSize, several(sections, false)))([x], [all]);
        expect([...many]).toEqual([...one]);
        // A single number stands for all of them, too.
        const [same] = await (await rotator(headSize, several(sections, false)))([x], [at]);
        expect([...same]).toEqual([...one]);
      }),
      { numRuns: 20 },
    );
  });

  it('gives stretches of frequencies to the streams, or deals them out by turns', () => {
    const mrope = ropePairs({ ...plain(8), sections: [2, 1, 1] });
    expect(mrope.map(({ stream, frequency }) => [stream, frequency])).toEqual([
      [0, 0],
      [0, 1],
      [1, 2],
      [2, 3],
    ]);
    // As Pixtral's vision tower: rows take frequencies 0, 2, 4, columns 1, 3.
    const dealt = ropePairs({ ...plain(10), sections: [3, 2], alternate: true });
    expect(dealt.map(({ stream, frequency }) => [stream, frequency])).toEqual([
      [0, 0],
      [0, 2],
      [0, 4],
      [1, 1],
      [1, 3],
    ]);
  });
});

describe('scalings', () => {
  it('that depend on the length say so', () => {
    const dynamic: RopeSpec = { ...plain(8), scaling: { type: 'dynamic', factor: 2, maxSeq: 12 } };
    expect(ropeVariant(dynamic, 12)).toBe(ropeVariant(dynamic, 3));
    expect(ropeVariant(dynamic, 13)).not.toBe(ropeVariant(dynamic, 14));
    expect(ropeVariant(plain(8), 1)).toBe(ropeVariant(plain(8), 1e6));
    expect(ropeFrequencies(dynamic, 24).inverse[1]).toBeCloseTo(1 / (10_000 * 3 ** (8 / 6)) ** 0.25, 6);
  });

  it('keep high frequencies under YaRN and divide the low ones', () => {
    const yarn: RopeSpec = {
      ...plain(64),
      scaling: {
        type: 'yarn',
        factor: 4,
        betaFast: 32,
        betaSlow: 1,
        origMaxSeq: 4096,
        attentionFactor: 1.1,
        truncate: true,
      },
    };
    const { inverse, scale } = ropeFrequencies(yarn, 1);
    const unscaled = ropeFrequencies(plain(64), 1).inverse;
    expect(inverse[0] / unscaled[0]).toBeCloseTo(1, 6);
    expect(inverse[31] / unscaled[31]).toBeCloseTo(0.25, 6);
    expect(scale).toBe(1.1);
  });
});
