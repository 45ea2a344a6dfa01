import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type FloatDtype, narrow, widenInto } from './half.ts';

function through(values: Float32Array, dtype: FloatDtype): Float32Array {
  const out = new Float32Array(values.length);
  widenInto(dtype, narrow(values, dtype), out);
  return out;
}

test.each(['F16', 'BF16'] as const)('all numbers of %s come back as they are', (dtype) => {
  const bytes = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
  const values = new Float32Array(65536);
  widenInto(dtype, bytes, values);
  const again = narrow(values, dtype);
  const bits = new Uint16Array(again.buffer, again.byteOffset, 65536);
  for (let i = 0; i < 65536; i++) if (!Number.isNaN(values[i])) expect(bits[i]).toBe(i);
});

test.each(['F16', 'BF16'] as const)('%s: the nearest number is taken', (dtype) => {
  const bytes = new Uint8Array(Uint16Array.from({ length: 65536 }, (_, i) => i).buffer);
  const all = new Float32Array(65536);
  widenInto(dtype, bytes, all);
  const finite = all.filter(Number.isFinite).sort();
  const limit = dtype === 'F16' ? 65519 : 3.38e38;
  fc.assert(
    fc.property(fc.float({ noNaN: true, min: Math.fround(-limit), max: Math.fround(limit) }), (value) => {
      const [got] = through(Float32Array.of(value), dtype);
      let low = 0;
      let high = finite.length - 1;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (finite[middle] <= value) low = middle;
        else high = middle;
      }
      const best = Math.min(Math.abs(finite[low] - value), Math.abs(finite[high] - value));
      expect(Math.abs(got - value)).toBe(best);
    }),
    { numRuns: 2000 },
  );
});

test('ties go to the even neighbour, and what is too large is infinite', () => {
  expect([...through(Float32Array.of(2049, 2051, 65519, 65520, -1e10, 2 ** -25, 1.5 * 2 ** -24), 'F16')]).toEqual([
    2048,
    2052,
    65504,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    0,
    2 ** -23,
  ]);
  expect([...through(Float32Array.of(257, 259, Number.NaN), 'BF16')]).toEqual([256, 260, Number.NaN]);
});
