import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { referencePlain } from '../../../test/support/reference-store.ts';
import { range } from '../../util/numbers.ts';
import { type BufferKind, createBuffer } from '../buffers.ts';
import { BlockCodec, blockCodec } from './blocks.ts';

/** The numbers that the expected bytes were made of. */
const NUMBERS = Float32Array.from(range(64), (i) =>
  i === 40 ? -19.25 : (((i * 37 + 11) % 101) - 50) * 0.173 * (i % 3 === 0 ? -0.4 : 1),
);

/** Of q8_0 as quants.quantize of the Python package gguf makes them. */
const EXPECTED = {
  q8_0:
    '2f2c29fb5d1f15771430860a4aa1ff65bbf47fd6ea8ef0dfa90bd5c32535de402af8' +
    'da30270e08320913ca0581d6002ae1fb36edf7cef8f2d903eee50fe9f01a13fb260e',
  q5_0: '27b802d97e930b5134ec2d41bdfa5f8fb79c4083b911' + 'd63cbf4c20d9f5a2f1e6b102e9d120dbe0352cff572e',
  q4_0: '4cbc05b892f697a1d775bfc7635ea8425c897b407b59797b59897468906578ab9688bc97',
} as const;

/**
 * The numbers from 30 to 41 of these bytes by the package's quants.dequantize, and the squared error of its own bytes.
 */
const DECODED = {
  q8_0: {
    numbers: [
      2.7454833984375, -0.52294921875, 5.912841796875, 2.12255859375, 1.212890625, 7.58056640625, 1.364501953125,
      2.880615234375, -8.18701171875, 0.758056640625, -19.254638671875, -6.36767578125,
    ],
    error: 0.0666,
  },
  q5_0: {
    numbers: [
      2.59521484375, -0.51904296875, 6.044921875, 2.41796875, 1.208984375, 7.25390625, 1.208984375, 2.41796875,
      -8.462890625, 1.208984375, -19.34375, -6.044921875,
    ],
    error: 4.3687,
  },
  q4_0: {
    numbers: [
      3.22265625, 0, 6.720703125, 2.240234375, 2.240234375, 6.720703125, 2.240234375, 2.240234375, -8.9609375, 0,
      -17.921875, -6.720703125,
    ],
    error: 19.8814,
  },
} as const;

describe.each(['q8_0', 'q5_0', 'q4_0'] as const)('%s', (format) => {
  const kind = { q8_0: 'int8', q5_0: 'int5', q4_0: 'int4' }[format] as BufferKind;

  it('has the bytes that ggml reads, with no more error than ggml’s own', () => {
    const codec = new BlockCodec({ batch: 1, groups: 1, size: 64 }, format);
    const [{ array }] = codec.arrays;
    array.resize(1, 2);
    codec.write(0, 0, 1, 1, NUMBERS, 0);
    expect(Buffer.from(array.slotView(0, 0, 2) as Uint8Array).toString('hex')).toBe(
      '0'.repeat(EXPECTED[format].length) + EXPECTED[format],
    );
    const read = new Float32Array(64);
    codec.read(0, 0, 1, read);
    const { numbers, error } = DECODED[format];
    numbers.forEach((x, i) => {
      expect(read[30 + i]).toBeCloseTo(x, 6);
    });
    expect(read.reduce((sum, x, i) => sum + (x - NUMBERS[i]) ** 2, 0)).toBeLessThanOrEqual(error);
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
        codec.preview(0, x, 0, previewed);
        const expected = referencePlain(kind, 'key', x, true);
        for (const i of x.keys()) {
          expect(stored[i + 1]).toBe(previewed[i]);
          expect(stored[i + 1]).toBeCloseTo(expected[i], 4);
        }
      }),
      { numRuns: 300, seed: 1 },
    );
  });

  it('is what a buffer holds where the engine reads blocks: whole ones', () => {
    const bytes = { q8_0: 34, q5_0: 22, q4_0: 18 }[format];
    const buffer = createBuffer(kind, 1, { groups: 2, keySize: 80, valueSize: 64 }, { blocks: blockCodec });
    expect(buffer.inputs.map(({ name, array }) => [name, array.width])).toEqual([
      ['k', 3 * bytes],
      ['v', 2 * bytes],
    ]);
  });
});
