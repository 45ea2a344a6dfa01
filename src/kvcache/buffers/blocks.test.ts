import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { referenceStore } from '../../../test/support/reference-store.ts';
import { range } from '../../util/numbers.ts';
import { createBuffer } from '../buffers.ts';
import { BlockCodec } from './blocks.ts';

/** The numbers that the expected bytes were made of. */
const NUMBERS = Float32Array.from(range(64), (i) =>
  i === 40 ? -19.25 : (((i * 37 + 11) % 101) - 50) * 0.173 * (i % 3 === 0 ? -0.4 : 1),
);

/** Made by quants.quantize of the Python package gguf. */
const EXPECTED = {
  q8_0:
    '2f2c29fb5d1f15771430860a4aa1ff65bbf47fd6ea8ef0dfa90bd5c32535de402af8' +
    'da30270e08320913ca0581d6002ae1fb36edf7cef8f2d903eee50fe9f01a13fb260e',
  q4_0: '27bc05b892f697a1e775bfc7635ea8425c99d0407a59797b69897568907578ab9688ab97',
} as const;

describe.each(['q8_0', 'q4_0'] as const)('%s', (format) => {
  const kind = format === 'q8_0' ? 'int8-plain' : 'int4-plain';

  it('has the bytes that ggml reads', () => {
    const codec = new BlockCodec({ batch: 1, groups: 1, size: 64 }, format);
    const [{ array }] = codec.arrays;
    array.resize(1, 2);
    codec.write(0, 0, 1, 1, NUMBERS, 0);
    expect(Buffer.from(array.slotView(0, 0, 2) as Uint8Array).toString('hex')).toBe(
      '0'.repeat(EXPECTED[format].length) + EXPECTED[format],
    );
  });

  it('gives back what its definition says, of any size', () => {
    const numbers = fc.array(fc.float({ min: -50, max: 50, noNaN: true }), { minLength: 1, maxLength: 100 });
    fc.assert(
      fc.property(numbers, (list) => {
        const x = Float32Array.from(list);
        const codec = new BlockCodec({ batch: 1, groups: 1, size: x.length }, format);
        codec.arrays[0].array.resize(1, 1);
        codec.write(0, 0, 0, 1, x, 0);
        const [stored, previewed] = [new Float32Array(x.length + 1), new Float32Array(x.length)];
        codec.read(0, 0, 0, stored, 1);
        codec.preview(x, 0, previewed);
        const expected = referenceStore(kind, 'key', x, true);
        for (const i of x.keys()) {
          expect(stored[i + 1]).toBe(previewed[i]);
          expect(stored[i + 1]).toBeCloseTo(expected[i], 4);
        }
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it('is what a buffer holds where the engine reads blocks: whole ones', () => {
    const buffer = createBuffer(kind, 1, { groups: 2, keySize: 80, valueSize: 64 }, { blocks: true });
    expect(buffer.inputs.map(({ name, array }) => [name, array.width])).toEqual([
      ['k', 3 * (format === 'q8_0' ? 34 : 18)],
      ['v', 2 * (format === 'q8_0' ? 34 : 18)],
    ]);
  });
});
