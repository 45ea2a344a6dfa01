import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { range } from '../../util/numbers.ts';
import { createBuffer } from '../buffers.ts';
import { blockCodec } from './blocks.ts';
import { hadamard, hadamardBlocks, hadamardMatrix } from './hadamard.ts';

describe('the Hadamard rotation', () => {
  it('takes the largest blocks first', () => {
    expect(hadamardBlocks(80)).toEqual([64, 16]);
    expect(hadamardBlocks(576)).toEqual([512, 64]);
    expect(hadamardBlocks(85)).toEqual([64, 16, 4, 1]);
  });

  it('is its own inverse, and keeps products', () => {
    const pairs = fc.integer({ min: 1, max: 130 }).chain((size) => {
      const vector = fc.array(fc.float({ min: -5, max: 5, noNaN: true }), { minLength: size, maxLength: size });
      return fc.tuple(vector, vector);
    });
    fc.assert(
      fc.property(pairs, ([a, b]) => {
        const dot = (x: ArrayLike<number>, y: ArrayLike<number>) =>
          range(x.length).reduce((s, i) => s + x[i] * y[i], 0);
        const [x, y] = [Float32Array.from([7, ...a]), Float32Array.from([7, ...b])];
        for (const z of [x, y]) hadamard(z, 1, a.length);
        expect(x[0]).toBe(7);
        expect(Math.abs(dot(x, y) - 49 - dot(a, b))).toBeLessThan(1e-3);
        hadamard(x, 1, a.length);
        a.forEach((value, i) => {
          expect(Math.abs(x[i + 1] - value)).toBeLessThan(1e-5);
        });
      }),
      { numRuns: 100, seed: 1 },
    );
  });

  it('is the matrix that engines multiply with', () => {
    const size = 12;
    const matrix = hadamardMatrix(size);
    const x = Float32Array.from(range(size), (i) => Math.sin(i + 1));
    const rotated = x.slice();
    hadamard(rotated, 0, size);
    for (const i of range(size)) {
      const sum = range(size).reduce((total, j) => total + matrix[i * size + j] * x[j], 0);
      expect(sum).toBeCloseTo(rotated[i], 6);
      for (const j of range(size)) expect(matrix[i * size + j]).toBe(matrix[j * size + i]);
    }
  });

  it('loses less of a vector with an outlier', () => {
    const key = Float32Array.from(range(64), (i) => Math.sin(3 * i) + (i === 9 ? 30 : 0));
    const error = (kind: 'int4' | 'int4-plain') => {
      const buffer = createBuffer(kind, 1, { groups: 1, keySize: 64, valueSize: 64 }, { blocks: blockCodec });
      const out = new Float32Array(64);
      buffer.keys.preview(0, key, 0, out);
      return Math.sqrt(out.reduce((sum, x, i) => sum + (i === 9 ? 0 : (x - key[i]) ** 2), 0));
    };
    expect(error('int4')).toBeLessThan(0.7 * error('int4-plain'));
  });
});
