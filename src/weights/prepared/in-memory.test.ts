import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WeightsError } from '../../util/errors.ts';
import { scaledBlocks } from '../codec.ts';
import type { ParamSpec, RowSource } from '../types.ts';
import { prepareInMemory } from './in-memory.ts';

const FORMATS = ['float32', 'int8', 'int4'] as const;

describe('prepareInMemory', () => {
  it('holds the bytes that the codec makes of each parameter', async () => {
    const shape = fc.tuple(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 70 }),
      fc.constantFrom(...FORMATS),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(shape, { minLength: 1, maxLength: 6 }), async (shapes) => {
        const specs = shapes.map(
          ([rows, cols, format], i): ParamSpec => ({ name: `p${i}`, shape: [rows, cols], role: 'linear', format }),
        );
        const valuesOf = (spec: ParamSpec) =>
          Float32Array.from({ length: spec.shape[0] * spec.shape[1] }, (_, j) => Math.sin(j + specs.indexOf(spec)));
        const source = (spec: ParamSpec): RowSource => {
          const [rows, cols] = spec.shape;
          const read = async (start: number, n: number) => valuesOf(spec).slice(start * cols, (start + n) * cols);
          return { rows, cols, read };
        };
        const weights = await prepareInMemory({ specs, source });
        for (const spec of specs) {
          const encoded = await scaledBlocks.encode(spec, valuesOf(spec), spec.shape[0], spec.shape[1]);
          for (const [i, { name }] of scaledBlocks.parts(spec).entries()) {
            const { offset, length } = weights.params.get(name)!;
            // The second time it is made anew.
            for (let time = 0; time < 2; time++)
              expect(await weights.read!(offset, length)).toEqual(new Uint8Array(encoded[i]));
          }
        }
      }),
      { numRuns: 30 },
    );
  });

  it('gives nothing that was made in part where the checkpoint fails while a tensor is made anew', async () => {
    const cols = 1 << 20;
    const spec: ParamSpec = { name: 'p', shape: [8, cols], role: 'plain', format: 'float32' };
    let reads = 0;
    const read = async (_: number, n: number) => {
      if (++reads === 4) throw new WeightsError('gone');
      return new Float32Array(n * cols).fill(1);
    };
    const weights = await prepareInMemory({ specs: [spec], source: () => ({ rows: 8, cols, read }) });
    expect(reads).toBe(2);
    const [{ offset, length }] = [...weights.params.values()];
    await weights.read!(offset, length);
    await expect(weights.read!(offset, length)).rejects.toThrow('gone');
    const bytes = await weights.read!(offset, length);
    expect(new Float32Array(bytes.buffer).every((value) => value === 1)).toBe(true);
  });

  it('refuses to read across tensors', async () => {
    const spec: ParamSpec = { name: 'p', shape: [1, 2], role: 'plain', format: 'float32' };
    const source = (): RowSource => ({ rows: 1, cols: 2, read: async () => new Float32Array(2) });
    const weights = await prepareInMemory({ specs: [spec], source });
    await expect(weights.read!(0, 9)).rejects.toThrow(WeightsError);
  });
});
