/**
 * @file The table of storage formats. A new one is a file in buffers/, a row here, and a reader in model/held.ts.
 */
import { InputError } from '../util/errors.ts';
import { Float16Buffer } from './buffers/float16.ts';
import { Float32Buffer } from './buffers/float32.ts';
import { QuantisedBuffer } from './buffers/quantised.ts';
import type { SlotBuffer } from './buffers/slot-buffer.ts';

/** How keys and values are stored. */
export type BufferKind = 'float32' | 'float16' | 'int8' | 'int4';

interface BufferRow {
  readonly summary: string;
  readonly create: (batch: number, groups: number, headSize: number) => SlotBuffer;
}

export const BUFFERS: Readonly<Record<BufferKind, BufferRow>> = {
  float32: { summary: 'exact', create: (batch, groups, headSize) => new Float32Buffer(batch, groups, headSize) },
  float16: {
    summary: 'half the memory',
    create: (batch, groups, headSize) => new Float16Buffer(batch, groups, headSize),
  },
  int8: {
    summary: 'a quarter of the memory, and read as whole numbers',
    create: (batch, groups, headSize) => new QuantisedBuffer(batch, groups, headSize, 8),
  },
  int4: {
    summary: 'an eighth of the memory',
    create: (batch, groups, headSize) => {
      if (headSize % 2 !== 0)
        throw new InputError(`the cache buffer int4 needs an even head size, but this model's is ${headSize}`);
      return new QuantisedBuffer(batch, groups, headSize, 4);
    },
  },
};

/** @throws InputError for a kind that there isn't, or that does not fit the head size. */
export function createBuffer(kind: BufferKind, batch: number, groups: number, headSize: number): SlotBuffer {
  if (!Object.hasOwn(BUFFERS, kind))
    throw new InputError(`there is no cache buffer "${kind}"; there are ${Object.keys(BUFFERS).join(', ')}`);
  return BUFFERS[kind].create(batch, groups, headSize);
}
