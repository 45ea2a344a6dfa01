import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ParamSpec } from '../types.ts';
import { BYTE_ZERO, byteGroupSize, byteGroups } from './byte-groups.ts';

describe('byteGroups', () => {
  it('cuts rows into the largest groups up to 128 values', () => {
    expect([576, 1536, 49152, 256, 704, 100].map(byteGroupSize)).toEqual([96, 128, 128, 128, 88, 100]);
    expect(byteGroupSize(521)).toBeNull();
  });

  it('is off by half a step at most', async () => {
    const matrix = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.constantFrom(32, 64, 1024), fc.integer());
    await fc.assert(
      fc.asyncProperty(matrix, async ([rows, cols, seed]) => {
        const spec: ParamSpec = { name: 'w', shape: [rows, cols], role: 'linear', format: 'int8' };
        const values = Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(seed + i * i) * (i % 7));
        const [bytes, scales] = await byteGroups.encode(spec, values, rows, cols);
        const [parts, scaleParts] = byteGroups.parts(spec);
        expect([bytes.length, scales.length]).toEqual([parts.length, scaleParts.length]);
        const steps = new Float32Array(scales.buffer, scales.byteOffset, scales.length / 4);
        const size = byteGroupSize(cols)!;
        values.forEach((value, i) => {
          const step = steps[Math.floor(i / size)];
          expect(Math.abs((bytes[i] - BYTE_ZERO) * step - value)).toBeLessThanOrEqual(step * 0.5001);
        });
      }),
      { numRuns: 30 },
    );
  });
});
