import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashSamples } from './sample.ts';

/** Ranges behind each other at multiples of 64, as prepared weights lie. */
function layOut(lengths: readonly number[]) {
  let offset = 0;
  return lengths.map((length) => {
    const range = { offset, length };
    offset = Math.ceil((offset + length) / 64) * 64;
    return range;
  });
}

const LENGTH = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: 3000, max: 20_000 }));

describe('samples', () => {
  it('have the same hash whether they are read together or one by one', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(LENGTH, { maxLength: 20 }), fc.boolean(), async (lengths, ends) => {
        const ranges = layOut(lengths);
        const size = ranges.reduce((end, { offset, length }) => Math.max(end, offset + length), 0);
        const bytes = Uint8Array.from({ length: size }, (_, i) => (i * 31) ^ (i >> 8));
        const read = async (offset: number, length: number) => bytes.slice(offset, offset + length);
        const oneByOne = { read, readPassing: read };
        expect(await hashSamples({ read }, ranges, ends)).toBe(await hashSamples(oneByOne, ranges, ends));
      }),
    );
  });

  it('of neighbours are read together', async () => {
    const asked: [number, number][] = [];
    const read = async (offset: number, length: number) => {
      asked.push([offset, length]);
      return new Uint8Array(length);
    };
    await hashSamples({ read }, layOut([100_000, 128, 100_000]), true);
    expect(asked).toEqual([
      [0, 4096],
      [47_952, 4096],
      [95_904, 8352],
      [148_112, 4096],
      [196_064, 4096],
    ]);
  });
});
