import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { ParamSpec } from '../types.ts';
import { BYTE_ZERO, byteRows } from './byte-rows.ts';

describe('byteRows', () => {
  it('is off by half a step at most', async () => {
    const matrix = fc.tuple(fc.integer({ min: 1, max: 5 }), fc.constantFrom(1, 31, 64, 521), fc.integer());
    await fc.assert(
      fc.asyncProperty(matrix, async ([rows, cols, seed]) => {
        const spec: ParamSpec = { name: 'w', shape: [rows, cols], role: 'linear', format: 'int8' };
        const values = Float32Array.from({ length: rows * cols }, (_, i) => Math.sin(seed + i * i) * (i % 7));
        const [bytes, scales] = await byteRows.encode(spec, values, rows, cols);
        const [parts, scaleParts] = byteRows.parts(spec);
        expect([bytes.length, scales.length]).toEqual([parts.length, scaleParts.length]);
        const steps = new Float32Array(scales.buffer, scales.byteOffset, scales.length / 4);
        values.forEach((value, i) => {
          const step = steps[Math.floor(i / cols)];
          expect(Math.abs((bytes[i] - BYTE_ZERO) * step - value)).toBeLessThanOrEqual(step * 0.5001);
        });
      }),
      { numRuns: 30 },
    );
  });
});
