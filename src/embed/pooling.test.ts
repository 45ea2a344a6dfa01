import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConfigError, InputError } from '../util/errors.ts';
import { range } from '../util/numbers.ts';
import { applyDense, checkPooling, normalized, type Pooling, pool } from './pooling.ts';

/** The definitions, column by column. */
const PLAIN: Readonly<Record<Pooling, (column: readonly number[], from: number) => number>> = {
  cls: (column, from) => column[from],
  last: (column) => column[column.length - 1],
  max: (column, from) => Math.max(...column.slice(from)),
  mean: (column, from) => column.slice(from).reduce((a, b) => a + b, 0) / (column.length - from),
  'mean-sqrt': (column, from) => column.slice(from).reduce((a, b) => a + b, 0) / Math.sqrt(column.length - from),
  'weighted-mean': (column, from) => {
    const kept = column.map((x, t) => ({ x, weight: t + 1 })).slice(from);
    return kept.reduce((a, { x, weight }) => a + x * weight, 0) / kept.reduce((a, { weight }) => a + weight, 0);
  },
};

describe('pooling', () => {
  it.each(Object.entries(PLAIN))('%s is what its definition says', (pooling, plain) => {
    const states = fc
      .tuple(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 5 }), fc.nat(6))
      .chain(([tokens, width, from]) =>
        fc.record({
          values: fc.array(fc.float({ min: -8, max: 8, noNaN: true }), {
            minLength: tokens * width,
            maxLength: tokens * width,
          }),
          tokens: fc.constant(tokens),
          width: fc.constant(width),
          from: fc.constant(from % tokens),
        }),
      );
    fc.assert(
      fc.property(states, ({ values, tokens, width, from }) => {
        const data = Float32Array.from(values);
        const pooled = pool(data, width, pooling as Pooling, from);
        expect(pooled.length).toBe(width);
        for (const i of range(width))
          expect(pooled[i]).toBeCloseTo(
            plain(
              range(tokens).map((t) => data[t * width + i]),
              from,
            ),
            4,
          );
        expect([...data]).toEqual([...Float32Array.from(values)]);
      }),
    );
  });

  it('refuses what can not be pooled', () => {
    expect(() => pool(new Float32Array(5), 2, 'mean')).toThrow(InputError);
    expect(() => pool(new Float32Array(0), 2, 'mean')).toThrow(InputError);
    expect(() => pool(new Float32Array(4), 2, 'mean', 2)).toThrow(/no tokens left/);
    expect(() => checkPooling('sum')).toThrow(
      'there is no pooling "sum"; there are cls, mean, max, last, weighted-mean',
    );
  });

  it('gives vectors the length 1, and leaves zeros', () => {
    expect([...normalized(Float32Array.of(3, 4))]).toEqual([...Float32Array.of(0.6, 0.8)]);
    expect([...normalized(new Float32Array(3))]).toEqual([0, 0, 0]);
  });

  it('computes dense layers', () => {
    const layer = { weight: Float32Array.of(1, 2, 3, 4), inputs: 2, outputs: 2, activation: 'identity' } as const;
    expect([...applyDense({ ...layer, bias: null }, Float32Array.of(1, -1))]).toEqual([-1, -1]);
    const tanh = applyDense({ ...layer, bias: Float32Array.of(1, 0), activation: 'tanh' }, Float32Array.of(1, -1));
    expect(tanh[0]).toBeCloseTo(0, 6);
    expect(tanh[1]).toBeCloseTo(Math.tanh(-1), 6);
    expect(() => applyDense({ ...layer, bias: null }, new Float32Array(3))).toThrow(ConfigError);
  });
});
