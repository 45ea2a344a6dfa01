/**
 * Slots of some groups of a table, as blocks and as numbers.
 */
import { expect, it } from 'vitest';
import { noise } from '../../../../test/support/attention-cases.ts';
import { computeTensor } from '../../../../test/support/compute-tensor.ts';
import { blockCodec } from '../../../kvcache/buffers/blocks.ts';
import type { BlockFormat } from '../../../kvcache/buffers/slot-codec.ts';
import { range } from '../../../util/numbers.ts';
import { openGgml } from '../binding/binding.ts';
import type { Tensor } from '../memory/tensor.ts';
import { GraphMaker } from './graph-maker.ts';
import { gathered } from './slot-blocks.ts';

const ggml = openGgml();
const ROWS = 40;
const INDEX = Int32Array.of(3, 39, 0, 3, 17, 18);
const DIMS = [1, 2, 3];

/** Slots at {@link INDEX}. @param asStored whether they may stay blocks, which are turned into numbers then. */
async function read(format: BlockFormat, size: number, asStored: boolean) {
  const codec = blockCodec({ size, batch: 1, groups: 1 }, format);
  codec.arrays[0].array.resize(1, ROWS);
  codec.write(0, 0, 0, ROWS, noise([ROWS, size], 3), 0);
  const bytes = codec.arrays[0].array.data as Uint8Array;
  const g = new GraphMaker(ggml, 30);
  const width = 32 * Math.ceil(size / 32);
  const stored = g.leaf(format, [ROWS, width]);
  g.setAddress(stored, ggml.addressOf(bytes));
  const slots = gathered(g, stored, g.over(INDEX, DIMS), size, asStored);
  const numbers: Tensor = slots.type === 'f32' ? slots : g.made(g.call('ggml_cast', slots.pointer, 0), slots.dims);
  const { y: found } = await computeTensor(g, numbers);
  const wanted = new Float32Array(found.length);
  for (const i of range(INDEX.length)) codec.read(0, 0, INDEX[i], wanted, i * size);
  return { type: slots.type, found, wanted, dims: slots.dims };
}

it.each(['q4_0', 'q5_0', 'q8_0'] as const)(
  '%s: the same numbers, as blocks where a slot has whole ones',
  async (format) => {
    for (const size of [64, 128, 96, 85])
      for (const asStored of [false, true]) {
        const { type, found, wanted, dims } = await read(format, size, asStored);
        // Of 96 numbers a slot of some formats is no multiple of 4 bytes.
        if (size % 64 === 0) expect(type).toBe(asStored ? format : 'f32');
        expect(dims).toEqual([...DIMS, size]);
        expect(found).toEqual(wanted);
      }
  },
);
