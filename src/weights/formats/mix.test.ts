import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bitsOf, type GgmlFormat } from './ggml-formats.ts';
import { chooseMix, MIX_BITS, type MixedMatrix, mixFormats } from './mix.ts';

const FORMATS: readonly GgmlFormat[] = ['iq4_nl', 'q4_1', 'q5_0', 'q8_0'];

const matrices = fc.array(
  fc.record({
    values: fc.integer({ min: 32, max: 5000 }),
    errors: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 4, maxLength: 4 }),
  }),
  { minLength: 1, maxLength: 6 },
);

const named = (list: readonly { values: number; errors: readonly number[] }[]): MixedMatrix[] =>
  list.map(({ values, errors }, i) => ({
    name: `m${i}`,
    values,
    errors: new Map(FORMATS.map((format, j) => [format, errors[j]])),
  }));

const bitsIn = (list: readonly MixedMatrix[], mix: ReadonlyMap<string, GgmlFormat>): number =>
  list.reduce((sum, { name, values }) => sum + values * bitsOf(mix.get(name)!), 0);
const errorIn = (list: readonly MixedMatrix[], mix: ReadonlyMap<string, GgmlFormat>): number =>
  list.reduce((sum, { name, errors }) => sum + errors.get(mix.get(name)!)!, 0);

describe('chooseMix', () => {
  it('keeps to the bits, and never has a larger error with more of them', () => {
    fc.assert(
      fc.property(matrices, fc.double({ min: 4.5, max: 9, noNaN: true }), (given, mean) => {
        const list = named(given);
        const values = list.reduce((sum, matrix) => sum + matrix.values, 0);
        const mix = chooseMix(list, mean * values);
        expect(bitsIn(list, mix)).toBeLessThanOrEqual(mean * values);
        const smallest = chooseMix(list, 0);
        expect(errorIn(list, mix)).toBeLessThanOrEqual(errorIn(list, smallest));
        const largest = chooseMix(list, 8.5 * values);
        const least = list.reduce((sum, { errors }) => sum + Math.min(...errors.values()), 0);
        expect(errorIn(list, largest)).toBeCloseTo(least, 12);
      }),
    );
  });

  it('gives bits where they gain most', () => {
    const errors = (...list: number[]) => new Map(FORMATS.map((format, i) => [format, list[i]]));
    const list: MixedMatrix[] = [
      { name: 'a', values: 1000, errors: errors(0.01, 0.009, 0.008, 0) },
      { name: 'b', values: 1000, errors: errors(0.5, 0.1, 0.05, 0) },
    ];
    expect([...chooseMix(list, 9500)]).toEqual([
      ['a', 'iq4_nl'],
      ['b', 'q4_1'],
    ]);
    expect([...chooseMix(list, 4000)].map(([, format]) => format)).toEqual(['iq4_nl', 'iq4_nl']);
  });

  it('passes by a format that costs more than another and errs no less', () => {
    const errors = new Map<GgmlFormat, number>([
      ['iq4_nl', 0.1],
      ['q4_1', 0.2],
      ['q8_0', 0.01],
    ]);
    expect(chooseMix([{ name: 'a', values: 32, errors }], 32 * MIX_BITS).get('a')).toBe('iq4_nl');
  });
});

describe('mixFormats', () => {
  it('has blocks of 256 only where rows divide into them, and at least 5 bits for embedding and head', () => {
    const formats = (name: string, role: 'linear' | 'embedding', cols: number) =>
      mixFormats({ name, role, rows: 8, cols });
    expect(formats('h.0.attn.qkv.weight', 'linear', 576)).toEqual(['iq4_nl', 'q8_0']);
    expect(formats('h.0.attn.qkv.weight', 'linear', 512)).toContain('q4_k');
    expect(formats('wte.weight', 'embedding', 576)).toEqual(['q5_1', 'q8_0']);
    expect(formats('lm_head.weight', 'linear', 512)).toEqual(['q5_1', 'q6_k', 'q8_0']);
    expect(formats('h.0.attn.qkv.weight', 'linear', 40)).toEqual([]);
  });
});
