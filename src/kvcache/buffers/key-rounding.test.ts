import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { anyQueryProducts, anyRoundings } from '../../../test/support/calibration.ts';
import { seeded } from '../../../test/support/seeded.ts';
import { range } from '../../util/numbers.ts';
import { type BufferKind, createBuffer } from '../buffers.ts';
import type { LayerShape } from '../shape.ts';
import { blockCodec } from './blocks.ts';
import { hadamard } from './hadamard.ts';
import { feedbackOf } from './key-rounding.ts';
import type { SlotBuffer } from './slot-buffer.ts';

const layerOf = (keySize: number): LayerShape => ({
  slots: true,
  groups: 2,
  heads: 2,
  keySize,
  valueSize: keySize,
  attentionScale: 1,
  window: null,
  rotation: null,
});

/** Keys of group 1 are rounded by the moments of its queries, those of group 0 by themselves. */
function buffers(kind: BufferKind, keySize: number, blocks: boolean, seed = 1) {
  const layer = layerOf(keySize);
  const roundings = anyRoundings(layer, seed);
  const make = (of?: (g: number) => Float32Array | null): SlotBuffer => {
    const buffer = createBuffer(kind, 1, layer, { blocks: blocks ? blockCodec : null }, of);
    buffer.resize(1, 4);
    return buffer;
  };
  return { plain: make(), rounded: make((g) => (g === 1 ? feedbackOf(roundings[1], keySize) : null)) };
}

const stored = (buffer: SlotBuffer, group: number, key: Float32Array): Float32Array => {
  const out = new Float32Array(key.length);
  buffer.keys.preview(group, key, 0, out);
  return out;
};

for (const blocks of [true, false])
  for (const kind of ['int4', 'int5'] as const)
    describe(`keys in ${kind}, ${blocks ? 'blocks' : 'planes'}, that are rounded by moments`, () => {
      it('are what was previewed, in their group only, and leave what was given', () => {
        fc.assert(
          fc.property(fc.integer({ min: 1, max: 1e6 }), fc.constantFrom(16, 40, 64, 96), (seed, size) => {
            const { plain, rounded } = buffers(kind, size, blocks);
            const random = seeded(seed);
            const keys = Float32Array.from(range(2 * size), () => random(2000) / 100 - 10);
            const given = keys.slice();
            const values = new Float32Array(2 * size);
            for (const group of [0, 1]) {
              rounded.write({ row: 0, group, slot: 1 }, 2, keys, 0, values, 0);
              for (const t of [0, 1]) {
                const read = new Float32Array(size);
                rounded.readKey({ row: 0, group, slot: 1 + t }, read);
                const key = keys.slice(t * size, (t + 1) * size);
                expect(read).toEqual(stored(rounded, group, key));
                if (group === 0) expect(read).toEqual(stored(plain, group, key));
              }
            }
            expect(keys).toEqual(given);
          }),
          { numRuns: 50, seed: 1 },
        );
      });

      it('lose less of products with such queries, and more of themselves', () => {
        const size = 64;
        const lost = { products: { plain: 0, rounded: 0 }, keys: { plain: 0, rounded: 0 } };
        for (const seed of range(8)) {
          const both = buffers(kind, size, blocks, seed + 1);
          const moments = anyQueryProducts(layerOf(size), seed + 1).subarray(size * size);
          const random = seeded(seed + 100);
          for (const _ of range(40)) {
            const key = Float32Array.from(range(size), () => random(2000) / 1000 - 1);
            for (const name of ['plain', 'rounded'] as const) {
              const read = stored(both[name], 1, key);
              const error = key.map((x, i) => x - read[i]);
              // The moments are of queries that are rotated as keys are stored.
              const rotated = error.slice();
              hadamard(rotated, 0, size);
              for (const i of range(size)) {
                lost.keys[name] += error[i] ** 2;
                for (const j of range(size)) lost.products[name] += rotated[i] * rotated[j] * moments[i * size + j];
              }
            }
          }
        }
        expect(lost.products.rounded).toBeLessThan(0.3 * lost.products.plain);
        expect(lost.keys.rounded).toBeGreaterThan(lost.keys.plain);
        expect(lost.keys.rounded).toBeLessThan(6 * lost.keys.plain);
      });
    });

describe('roundings', () => {
  it('are of rotated keys in 4 and 5 bits: other formats and values are as without them', () => {
    const key = Float32Array.from(range(64), (i) => Math.sin(i * i));
    for (const kind of ['float32', 'float16', 'int8', 'int8-plain', 'int4-plain'] as const)
      for (const blocks of [true, false]) {
        const { plain, rounded } = buffers(kind, 64, blocks);
        expect(stored(rounded, 1, key)).toEqual(stored(plain, 1, key));
      }
    const { plain, rounded } = buffers('int4', 64, true);
    const storedValue = (buffer: SlotBuffer) => {
      const out = new Float32Array(64);
      buffer.values.preview(1, key, 0, out);
      return out;
    };
    expect(storedValue(rounded)).toEqual(storedValue(plain));
    expect(stored(rounded, 1, key)).not.toEqual(stored(plain, 1, key));
  });
});
