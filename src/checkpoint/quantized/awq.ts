/**
 * @file AWQ ("gemm"): words pack eight outputs in an order of their own; zero points are stored as they are.
 */
import type { Method, QuantSettings } from './method.ts';
import { allFloats, madeMatrix, neutralBias, wholeTensor } from './tensors.ts';

/** Which nibble of a word holds output 8c + j. */
const NIBBLE_OF = [0, 4, 1, 5, 2, 6, 3, 7];

export function awq(settings: QuantSettings, name = 'AWQ'): Method {
  const bits = settings.int('bits', settings.int('w_bit', 4));
  if (bits !== 4) throw settings.fail('bits', 'must be 4');
  const version = settings.text('version', 'gemm').toLowerCase();
  if (version !== 'gemm') throw settings.fail('version', 'must be "gemm" (others are laid out for one GPU kernel)');
  return {
    name,
    marks: ['qweight'],
    async read(module) {
      const [qweight, qzeros, scales] = ['qweight', 'qzeros', 'scales'].map((part) => module.need(part));
      const [cols, words] = qweight.shape;
      const [groups, rows] = scales.shape;
      if (rows !== words * 8 || qzeros.shape[0] !== groups || qzeros.shape[1] !== words || cols % groups !== 0)
        throw module.fail('has tensors whose shapes do not fit each other');
      const size = cols / groups;
      const nibble = (bytes: Uint8Array, line: number, row: number) => {
        const n = NIBBLE_OF[row & 7];
        return (bytes[(line * words + (row >> 3)) * 4 + (n >> 1)] >> (4 * (n & 1))) & 15;
      };
      const weight = madeMatrix(`${module.name}.weight`, [rows, cols], `${name} 4 bit`, async (start, count) => {
        const [packed, zeros, scale] = [await wholeTensor(qweight), await wholeTensor(qzeros), await allFloats(scales)];
        const out = new Float32Array(count * cols);
        for (let i = 0; i < count; i++)
          for (let col = 0; col < cols; col++) {
            const row = start + i;
            const g = Math.floor(col / size);
            out[i * cols + col] = (nibble(packed, col, row) - nibble(zeros, g, row)) * scale[g * rows + row];
          }
        return out;
      });
      return { tensors: [weight, ...(await neutralBias(module))], used: ['qweight', 'qzeros', 'scales', 'bias'] };
    },
  };
}
