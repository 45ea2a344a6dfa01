import { describe, expect, it } from 'vitest';
import { seeded } from '../../../test/support/seeded.ts';
import { tensorType } from '../../checkpoint/gguf/blocks/block-formats.ts';
import { areScalesFinite } from './finite-blocks.ts';

describe.each(['q4_0', 'q4_1', 'q5_0', 'q5_1', 'q8_0', 'iq4_nl', 'q4_k', 'q5_k', 'q6_k'] as const)('%s', (format) => {
  it('is finite where all its values are', () => {
    const { blockBytes, blockLength, dequantize } = tensorType(format);
    const random = seeded(3);
    const seen = new Set<boolean>();
    for (let i = 0; i < 3000; i++) {
      const bytes = Uint8Array.from({ length: 2 * blockBytes }, () => random(256));
      const values = new Float32Array(2 * blockLength);
      dequantize(bytes, values);
      const allFinite = values.every(Number.isFinite);
      // A scale that is infinite may be multiplied with zeros alone, which are no numbers then.
      expect(areScalesFinite(format, bytes)).toBe(allFinite);
      seen.add(allFinite);
    }
    expect(seen.size).toBe(2);
  });
});

it('formats that are not known are not said to be finite', () => {
  expect(areScalesFinite('iq2_s', new Uint8Array(82))).toBe(false);
});
